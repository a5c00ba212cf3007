{{- define "common.servicemonitor" -}}
{{- if .Values.serviceMonitor.enabled -}}
apiVersion: monitoring.coreos.com/v1
kind: ServiceMonitor
metadata:
  name: {{ include "common.fullname" . }}
  namespace: {{ .Release.Namespace }}
  labels:
    {{- include "common.labels" . | nindent 4 }}
    {{- with .Values.serviceMonitor.labels }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
spec:
  # `job` is the service's name, and not the name of the release or of the admin Service.
  jobLabel: app.kubernetes.io/name
  selector:
    matchLabels: {{- include "common.selectorLabels" . | nindent 6 }}
  endpoints:
    - port: {{ include "common.probePort" . }}
      path: /metrics
      interval: {{ .Values.serviceMonitor.interval }}
      scrapeTimeout: {{ .Values.serviceMonitor.scrapeTimeout }}
      {{- /* The services' own labels `endpoint` (the route) and `service` keep their names; without this Prometheus renames them to `exported_endpoint` and `exported_service`. */}}
      honorLabels: true
      {{- if ne (include "common.name" .) (include "common.program" .) }}
      # Dashboards and alerts select by the program's name.
      relabelings:
        - action: replace
          targetLabel: job
          replacement: {{ include "common.program" . }}
      {{- end }}
      {{- with .Values.serviceMonitor.metricRelabelings }}
      metricRelabelings:
        {{- range . }}
        - {{ include "common.withDefaults" (list . (dict "action" "replace")) | indent 10 | trim }}
        {{- end }}
      {{- end }}
{{- end -}}
{{- end -}}
