{{- define "common.disruptionbudget" -}}
{{- if .Values.podDisruptionBudget.enabled -}}
{{- $minimum := toString .Values.podDisruptionBudget.minAvailable -}}
apiVersion: policy/v1
kind: PodDisruptionBudget
metadata:
  name: {{ include "common.fullname" . }}
  namespace: {{ .Release.Namespace }}
  labels: {{- include "common.labels" . | nindent 4 }}
spec:
  {{- if $minimum }}
  minAvailable: {{ include "common.count" $minimum }}
  {{- else }}
  maxUnavailable: {{ include "common.count" .Values.podDisruptionBudget.maxUnavailable }}
  {{- end }}
  # A pod that is not ready serves no requests, so it must not prevent a node from being drained.
  unhealthyPodEvictionPolicy: AlwaysAllow
  selector:
    matchLabels: {{- include "common.selectorLabels" . | nindent 6 }}
{{- end -}}
{{- end -}}

{{- define "common.autoscaler" -}}
{{- if .Values.autoscaling.enabled -}}
apiVersion: autoscaling/v2
kind: HorizontalPodAutoscaler
metadata:
  name: {{ include "common.fullname" . }}
  namespace: {{ .Release.Namespace }}
  labels: {{- include "common.labels" . | nindent 4 }}
spec:
  scaleTargetRef:
    apiVersion: apps/v1
    kind: Deployment
    name: {{ include "common.fullname" . }}
  minReplicas: {{ int .Values.autoscaling.minReplicas }}
  maxReplicas: {{ int .Values.autoscaling.maxReplicas }}
  metrics:
    {{- /* In this order, because the API server moves cpu to the end, and Argo CD would show a difference. */}}
    {{- range list (list "memory" .Values.autoscaling.targetMemoryUtilization) (list "cpu" .Values.autoscaling.targetCPUUtilization) }}
    {{- if int (index . 1) }}
    - type: Resource
      resource:
        name: {{ index . 0 }}
        target:
          type: Utilization
          averageUtilization: {{ int (index . 1) }}
    {{- end }}
    {{- end }}
  {{- with .Values.autoscaling.behavior }}
  behavior: {{- toYaml . | nindent 4 }}
  {{- end }}
{{- end -}}
{{- end -}}
