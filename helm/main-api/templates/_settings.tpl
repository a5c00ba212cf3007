{{/* The templates that the library chart includes. Each name begins with the chart's, because Helm's template names are global. */}}

{{- define "main-api.validate" -}}
{{- include "common.shorter" (list "aux.attemptTimeout" .Values.aux.attemptTimeout "requests.timeout" .Values.requests.timeout) -}}
{{- end -}}

{{- define "main-api.settings" -}}
{{- with .Values.version -}}
MAIN_VERSION: {{ . | quote }}
{{- end }}
AUX_URL: {{ .Values.aux.url | quote }}
ATTEMPT_TIMEOUT: {{ .Values.aux.attemptTimeout | quote }}
RETRY_MAX_ATTEMPTS: {{ int64 .Values.retry.maxAttempts | quote }}
RETRY_BACKOFF: {{ .Values.retry.backoff | quote }}
RETRY_BUDGET: {{ .Values.retry.budget | quote }}
BREAKER_CONSECUTIVE_FAILURES: {{ int64 .Values.breaker.consecutiveFailures | quote }}
BREAKER_FAILURE_RATE: {{ .Values.breaker.failureRate | quote }}
BREAKER_WINDOW: {{ .Values.breaker.window | quote }}
BREAKER_MIN_CALLS: {{ int64 .Values.breaker.minCalls | quote }}
BREAKER_OPEN_FOR: {{ .Values.breaker.openFor | quote }}
{{- if .Values.aux.tokenSecret.name }}
AUX_TOKEN_FILE: {{ printf "/run/secrets/aux/%s" .Values.aux.tokenSecret.key | quote }}
{{- end }}
{{- end -}}

{{- define "main-api.files" -}}
{{- with .Values.aux.tokenSecret }}
{{- if .name }}
{{- include "common.secretFile" (dict "name" "aux-token" "mountPath" "/run/secrets/aux" "secret" .) }}
{{- end }}
{{- end }}
{{- end -}}

{{- define "main-api.secretEnv" -}}{{- end -}}
{{- define "main-api.serviceAccountAnnotations" -}}{{- end -}}
{{- define "main-api.sidecars" -}}{{- end -}}
{{- define "main-api.sidecarVolumes" -}}{{- end -}}
{{- define "main-api.podAnnotations" -}}{{- end -}}
{{- define "main-api.manifests" -}}{{- end -}}
{{- define "main-api.requiredSecret" -}}{{- end -}}

{{- define "main-api.notes" -}}{{- end -}}

{{- define "main-api.testRoute" -}}/inventory{{- end -}}

{{- define "main-api.callers" -}}{{- end -}}

{{/* main-api.callees: aux-service's pods, in the namespace of aux.url (http://service.namespace:port). */}}
{{- define "main-api.callees" -}}
{{- $host := splitList "." (regexReplaceAll ":[0-9]+$" (urlParse .Values.aux.url).host "") }}
# aux-service.
- to:
    {{- include "common.peer" (dict "namespace" (ternary (index $host (min 1 (sub (len $host) 1))) .Release.Namespace (gt (len $host) 1)) "podLabels" .Values.networkPolicy.auxService.podLabels) | nindent 4 }}
  ports:
    - port: {{ include "common.urlPort" .Values.aux.url }}
{{- end -}}
