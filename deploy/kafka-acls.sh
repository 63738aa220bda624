#!/bin/sh
# Least privilege on Kafka: who may read and write what. An example to read, adapt and run once, after `usage topics`:
#
#   KAFKA=broker:9093 CONFIG=admin.properties sh deploy/kafka-acls.sh           # prints the commands
#   KAFKA=broker:9093 CONFIG=admin.properties APPLY=1 sh deploy/kafka-acls.sh   # runs them
#
# The broker must deny what no rule allows (KRaft: authorizer.class.name=org.apache.kafka.metadata.authorizer.StandardAuthorizer
# and allow.everyone.if.no.acl.found=false), and listeners must authenticate (SASL_SSL or mutual TLS).
#
# THE LIMIT OF ACLs. Kafka checks topics, not keys: a producer that may write usage.events can write under every customer's
# key and with every deployment's `source`, and with any record timestamp, and the header x-usage-import. ACLs cannot tell
# customers apart. So give this right only to deployments that you operate yourself. Deployments in a customer's hands send
# to the HTTP API (`usage api`): its keys are bound to one deployment, and it makes key, timestamp and headers itself. Where
# a customer must have Kafka, give each a topic of their own and copy it to usage.events with a process that checks both.
set -eu

: "${KAFKA:?bootstrap servers, host:port}"
: "${CONFIG:?properties file of an administrator}"
KAFKA_ACLS=${KAFKA_ACLS:-kafka-acls.sh}

WORKER=${WORKER:-User:usage-worker}
SINK=${SINK:-User:usage-sink}
API=${API:-User:usage-api}
ALERTS=${ALERTS:-User:usage-alerts}
GATEWAY=${GATEWAY:-User:usage-gateway}
OPERATOR=${OPERATOR:-User:usage-operator}
DEPLOYMENTS=${DEPLOYMENTS:-User:dep-own-prod}   # those that you operate, separated by spaces

acl() {
    if [ "${APPLY:-}" = 1 ]; then
        "$KAFKA_ACLS" --bootstrap-server "$KAFKA" --command-config "$CONFIG" --add "$@"
    else
        echo "$KAFKA_ACLS --bootstrap-server $KAFKA --command-config $CONFIG --add $*"
    fi
}

reads()  { principal=$1; shift; for topic; do acl --allow-principal "$principal" --operation Read --operation Describe --topic "$topic"; done; }
writes() { principal=$1; shift; for topic; do acl --allow-principal "$principal" --operation Write --operation Describe --topic "$topic"; done; }
describes() { principal=$1; shift; for topic; do acl --allow-principal "$principal" --operation Describe --topic "$topic"; done; }
group()  { acl --allow-principal "$1" --operation Read --operation Describe --group "$2" --resource-pattern-type "$3"; }
transactions() { acl --allow-principal "$1" --operation Write --operation Describe --transactional-id "$2" --resource-pattern-type "$3"; }

# Deployments that produce directly: usage.events, and nothing else. They read nothing, not even what they wrote.
for deployment in $DEPLOYMENTS; do
    writes "$deployment" usage.events
done

# Workers: one writer a partition, fenced by the transactional ids USAGE_WORKER_GROUP-PARTITION.
reads "$WORKER" usage.events billing.grants usage.states billing.catalog
writes "$WORKER" usage.lines usage.states usage.quota usage.alerts usage.dead-letter billing.closings
group "$WORKER" usage-worker literal
describes "$WORKER" access.keys billing.payouts   # a worker starts only when all topics are there
transactions "$WORKER" usage-worker- prefixed

# Sinks.
reads "$SINK" usage.lines billing.closings billing.payouts
writes "$SINK" usage.dead-letter
group "$SINK" usage-sink literal
group "$SINK" usage-sink-facts literal   # closings and payouts

# The HTTP API: takes events in for everybody, writes grants for operators, follows keys, quota and catalog. No group, no
# transaction.
reads "$API" usage.quota access.keys billing.catalog
writes "$API" usage.events billing.grants

# Alerts: a group for each target (USAGE_ALERTS_GROUP.NAME).
reads "$ALERTS" usage.alerts
writes "$ALERTS" usage.dead-letter
group "$ALERTS" usage-alerts. prefixed

# Gateways that follow quota from Kafka and not from the API. They see EVERY customer's balances and prices: only your own.
reads "$GATEWAY" usage.quota

# People who operate: `usage keys`, `usage signing-keys`, `usage grant`, `usage import`, `usage dead-letter`, `usage audit`,
# `usage alerts tail`, `usage catalog publish`, `usage close`, `usage payouts make`. A person with these rights can write anybody's usage and money.
reads "$OPERATOR" usage.events billing.grants usage.lines usage.states usage.quota usage.alerts usage.dead-letter access.keys
reads "$OPERATOR" billing.catalog billing.closings billing.payouts
writes "$OPERATOR" usage.events billing.grants access.keys usage.dead-letter usage.alerts usage.lines
writes "$OPERATOR" billing.catalog billing.payouts
transactions "$OPERATOR" usage-import literal
transactions "$OPERATOR" usage-dead-letter-replay literal
transactions "$OPERATOR" usage-catalog-publish literal
transactions "$OPERATOR" usage-payouts literal

# `usage topics` needs Create on the cluster and DescribeConfigs on topics: run it as the administrator.
