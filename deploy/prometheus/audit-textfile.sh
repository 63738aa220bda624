#!/bin/sh
# Audits a period and leaves the outcome where node_exporter's textfile collector finds it; run it daily:
#
#   TEXTFILES=/var/lib/node_exporter sh deploy/prometheus/audit-textfile.sh 2026-11-01
#
# More arguments go to `usage audit`, whose exit code this has too: 0 all is well, 1 something is wrong, 2 not done.
set -u

: "${TEXTFILES:?folder of the textfile collector}"
: "${1:?first day of the period, such as 2026-11-01}"
period=$1
shift

code=0
${USAGE:-usage} audit --period "$period" "$@" || code=$?

partial=$(mktemp "$TEXTFILES/.usage_audit.XXXXXX") || exit 2
{
    echo '# TYPE usage_audit_exit_code gauge'
    echo "usage_audit_exit_code $code"
    echo '# TYPE usage_audit_finished_timestamp_seconds gauge'
    echo "usage_audit_finished_timestamp_seconds $(date +%s)"
} >"$partial"
chmod 644 "$partial"
mv "$partial" "$TEXTFILES/usage_audit.prom"  # whole or not at all
exit "$code"
