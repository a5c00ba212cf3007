{{/* common.service: the Service, and a second one of type ClusterIP for the admin port, which no NodePort may expose. */}}
{{- define "common.service" -}}
apiVersion: v1
kind: Service
metadata:
  name: {{ include "common.fullname" . }}
  namespace: {{ .Release.Namespace }}
  labels: {{- include "common.labels" . | nindent 4 }}
  {{- with .Values.service.annotations }}
  annotations: {{- toYaml . | nindent 4 }}
  {{- end }}
spec:
  type: {{ .Values.service.type }}
  {{- if ne .Values.service.type "ClusterIP" }}
  externalTrafficPolicy: {{ .Values.service.externalTrafficPolicy }}
  {{- end }}
  {{- with .Values.service.loadBalancerSourceRanges }}
  loadBalancerSourceRanges: {{- toYaml . | nindent 4 }}
  {{- end }}
  selector: {{- include "common.selectorLabels" . | nindent 4 }}
  ports:
    - name: http
      port: {{ int .Values.server.port }}
      targetPort: http
      appProtocol: http
      {{- if and (ne .Values.service.type "ClusterIP") .Values.service.nodePort }}
      nodePort: {{ int .Values.service.nodePort }}
      {{- end }}
{{- if .Values.server.adminPort }}
---
apiVersion: v1
kind: Service
metadata:
  name: {{ include "common.fullname" . }}-admin
  namespace: {{ .Release.Namespace }}
  labels: {{- include "common.labels" . | nindent 4 }}
spec:
  type: ClusterIP
  selector: {{- include "common.selectorLabels" . | nindent 4 }}
  ports:
    - name: admin
      port: {{ int .Values.server.adminPort }}
      targetPort: admin
      appProtocol: http
{{- end }}
{{- end -}}
