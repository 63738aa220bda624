{{- define "usage.name" -}}
{{- if contains .Chart.Name .Release.Name }}{{ .Release.Name }}{{ else }}{{ .Release.Name }}-{{ .Chart.Name }}{{ end }}
{{- end }}

{{- define "usage.image" -}}
{{- with .Values.image }}{{ .repository }}{{ if .digest }}@{{ .digest }}{{ else }}:{{ .tag | default $.Chart.AppVersion }}{{ end }}{{ end }}
{{- end }}

{{- define "usage.selector" -}}
app.kubernetes.io/name: usage
app.kubernetes.io/instance: {{ .root.Release.Name }}
app.kubernetes.io/component: {{ .component }}
{{- end }}

{{- define "usage.labels" -}}
{{ include "usage.selector" . }}
app.kubernetes.io/version: {{ .root.Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .root.Release.Service }}
helm.sh/chart: {{ .root.Chart.Name }}-{{ .root.Chart.Version }}
{{- end }}

{{/* The name of the ConfigMap with the catalog; empty when there is none. */}}
{{- define "usage.catalog" -}}
{{- if .Values.catalog.existingConfigMap }}{{ .Values.catalog.existingConfigMap }}
{{- else if .Values.catalog.content }}{{ include "usage.name" . }}-catalog{{ end }}
{{- end }}

{{/* A number as people write it, quoted: Helm would write 4194304 as 4.194304e+06. */}}
{{- define "usage.plain" -}}
{{- if kindIs "float64" . }}{{ int64 . | toString | quote }}{{ else }}{{ toString . | quote }}{{ end }}
{{- end }}

{{/* What every pod of ours has in common. Arguments: root, component. */}}
{{- define "usage.pod" -}}
automountServiceAccountToken: false
enableServiceLinks: false
{{- with .root.Values.image.pullSecrets }}
imagePullSecrets: {{ toYaml . | nindent 2 }}
{{- end }}
securityContext:
  runAsNonRoot: true
  runAsUser: 10001
  runAsGroup: 10001
  fsGroup: 10001
  seccompProfile: {type: RuntimeDefault}
{{- $own := index .root.Values .component }}
{{- with $own.nodeSelector }}
nodeSelector: {{ toYaml . | nindent 2 }}
{{- end }}
{{- with $own.tolerations }}
tolerations: {{ toYaml . | nindent 2 }}
{{- end }}
{{- with $own.affinity }}
affinity: {{ toYaml . | nindent 2 }}
{{- end }}
{{- end }}

{{/* What every container of ours has in common. Arguments: root, component, catalog (mount it). */}}
{{- define "usage.container" -}}
{{- $root := .root }}
{{- $values := .root.Values }}
{{- $own := index $values .component }}
image: {{ include "usage.image" .root }}
imagePullPolicy: {{ $values.image.pullPolicy }}
securityContext:
  allowPrivilegeEscalation: false
  readOnlyRootFilesystem: true
  capabilities: {drop: [ALL]}
resources: {{ toYaml $own.resources | nindent 2 }}
env:
  - {name: USAGE_KAFKA, value: {{ required "kafka.bootstrap is needed" $values.kafka.bootstrap | quote }}}
  - {name: USAGE_KAFKA_SECURITY_PROTOCOL, value: {{ $values.kafka.securityProtocol | quote }}}
  - {name: USAGE_KAFKA_SASL_MECHANISM, value: {{ $values.kafka.saslMechanism | quote }}}
  - {name: USAGE_CLICKHOUSE, value: {{ required "clickhouse.url is needed" $values.clickhouse.url | quote }}}
  - {name: USAGE_WORKER_GROUP, value: {{ $values.worker.group | quote }}}
  {{- range $name, $value := $values.settings }}
  - {name: USAGE_{{ upper $name }}, value: {{ include "usage.plain" $value }}}
  {{- end }}
  {{- if or $own.existingSecret $values.existingSecret }}
  - {name: USAGE_SECRETS_DIR, value: /run/secrets/usage}
  {{- end }}
  {{- if $values.kafka.caSecret }}
  - {name: USAGE_KAFKA_CA_FILE, value: /run/secrets/kafka-ca/ca.crt}
  {{- end }}
  {{- if $values.kafka.clientSecret }}
  - {name: USAGE_KAFKA_CERT_FILE, value: /run/secrets/kafka-client/tls.crt}
  - {name: USAGE_KAFKA_KEY_FILE, value: /run/secrets/kafka-client/tls.key}
  {{- end }}
  {{- if $values.clickhouse.caSecret }}
  - {name: USAGE_CLICKHOUSE_CA_FILE, value: /run/secrets/clickhouse-ca/ca.crt}
  {{- end }}
  {{- if and .catalog (include "usage.catalog" $root) }}
  - {name: USAGE_CATALOG, value: /etc/usage/catalog.yaml}
  {{- end }}
{{- end }}

{{- define "usage.mounts" -}}
{{- $values := .root.Values }}
{{- $own := index $values .component }}
- {name: tmp, mountPath: /tmp}
{{- if or $own.existingSecret $values.existingSecret }}
- {name: secrets, mountPath: /run/secrets/usage, readOnly: true}
{{- end }}
{{- if $values.kafka.caSecret }}
- {name: kafka-ca, mountPath: /run/secrets/kafka-ca, readOnly: true}
{{- end }}
{{- if $values.kafka.clientSecret }}
- {name: kafka-client, mountPath: /run/secrets/kafka-client, readOnly: true}
{{- end }}
{{- if $values.clickhouse.caSecret }}
- {name: clickhouse-ca, mountPath: /run/secrets/clickhouse-ca, readOnly: true}
{{- end }}
{{- if and .catalog (include "usage.catalog" .root) }}
- {name: catalog, mountPath: /etc/usage, readOnly: true}
{{- end }}
{{- end }}

{{- define "usage.volumes" -}}
{{- $values := .root.Values }}
{{- $own := index $values .component }}
- {name: tmp, emptyDir: {sizeLimit: 64Mi}}
{{- with $own.existingSecret | default $values.existingSecret }}
- {name: secrets, secret: {secretName: {{ . }}, defaultMode: 0440}}
{{- end }}
{{- with $values.kafka.caSecret }}
- {name: kafka-ca, secret: {secretName: {{ . }}, defaultMode: 0440, items: [{key: ca.crt, path: ca.crt}]}}
{{- end }}
{{- with $values.kafka.clientSecret }}
- {name: kafka-client, secret: {secretName: {{ . }}, defaultMode: 0440}}
{{- end }}
{{- with $values.clickhouse.caSecret }}
- {name: clickhouse-ca, secret: {secretName: {{ . }}, defaultMode: 0440, items: [{key: ca.crt, path: ca.crt}]}}
{{- end }}
{{- if and .catalog (include "usage.catalog" .root) }}
- {name: catalog, configMap: {name: {{ include "usage.catalog" .root }}}}
{{- end }}
{{- end }}

{{/* Metrics, and probes on their port: the event loop answers (live), there is work to do (ready). */}}
{{- define "usage.metricsEnv" -}}
- {name: USAGE_METRICS_HOST, value: 0.0.0.0}
- {name: USAGE_METRICS_PORT, value: {{ .Values.metrics.port | quote }}}
{{- end }}

{{- define "usage.probes" -}}
livenessProbe: {httpGet: {path: /healthz, port: metrics}, periodSeconds: 10, timeoutSeconds: 5, failureThreshold: 6}
readinessProbe: {httpGet: {path: /readyz, port: metrics}, periodSeconds: 5, timeoutSeconds: 5, failureThreshold: 3}
startupProbe: {httpGet: {path: /healthz, port: metrics}, periodSeconds: 2, timeoutSeconds: 5, failureThreshold: 60}
{{- end }}
