{{/* common.settings: the variables that both services read, as a map. */}}
{{- define "common.settings" -}}
LISTEN_ADDR: {{ printf "%s:%d" .Values.server.address (int .Values.server.port) | quote }}
{{- if .Values.server.adminPort }}
ADMIN_ADDR: {{ printf "%s:%d" .Values.server.address (int .Values.server.adminPort) | quote }}
{{- end }}
CACHE: {{ ternary "on" "off" .Values.cache.enabled | quote }}
CACHE_MAX_BYTES: {{ .Values.cache.maxBytes | quote }}
REQUEST_TIMEOUT: {{ .Values.requests.timeout | quote }}
MAX_IN_FLIGHT: {{ int64 .Values.requests.maxInFlight | quote }}
MAX_WAITING: {{ int64 .Values.requests.maxWaiting | quote }}
MAX_CONNECTION_AGE: {{ .Values.requests.maxConnectionAge | quote }}
SHUTDOWN_DELAY: {{ .Values.shutdown.delay | quote }}
SHUTDOWN_GRACE: {{ .Values.shutdown.grace | quote }}
LOG_FORMAT: {{ .Values.log.format | quote }}
ACCESS_LOG: {{ .Values.log.access | quote }}
RUST_LOG: {{ .Values.log.level | quote }}
{{- with .Values.tracing.otlpEndpoint }}
OTEL_EXPORTER_OTLP_ENDPOINT: {{ . | quote }}
{{- end }}
{{- if .Values.auth.tokensSecret.name }}
AUTH_TOKEN_FILE: {{ printf "/run/secrets/auth/%s" .Values.auth.tokensSecret.key | quote }}
{{- end }}
{{- end -}}

{{/* common.env: the container's variables as a list: shared settings, the chart's own settings, and those from Secrets. */}}
{{- define "common.env" -}}
{{- $settings := merge (include (printf "%s.settings" (include "common.program" .)) . | fromYaml) (include "common.settings" . | fromYaml) -}}
{{- range $name, $value := $settings }}
- name: {{ $name }}
  value: {{ $value | quote }}
{{- end }}
{{- include (printf "%s.secretEnv" (include "common.program" .)) . }}
{{- end -}}
