{{/*
common.networkpolicy: only named peers may reach the pods, and the pods may reach only the peers that they need.
The kubelet's probes need no rule: traffic from the pod's own node is always allowed.
*/}}
{{- define "common.networkpolicy" -}}
{{- if .Values.networkPolicy.enabled -}}
{{- $np := .Values.networkPolicy -}}
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata:
  name: {{ include "common.fullname" . }}
  namespace: {{ .Release.Namespace }}
  labels: {{- include "common.labels" . | nindent 4 }}
spec:
  podSelector:
    matchLabels: {{- include "common.selectorLabels" . | nindent 6 }}
  policyTypes: [Ingress, Egress]
  ingress:
    {{- with include (printf "%s.callers" (include "common.program" .)) . | trim }}
    {{- . | nindent 4 }}
    {{- end }}
    # Prometheus scrapes.
    - from:
        {{- include "common.peer" $np.prometheus | nindent 8 }}
      ports:
        - port: {{ include "common.probePort" . }}
    # The pod of `helm test`.
    - from:
        - podSelector:
            matchLabels: {{- include "common.testLabels" . | nindent 14 }}
      ports:
        - port: http
        {{- if .Values.server.adminPort }}
        - port: admin
        {{- end }}
    {{- if or .Values.ingress.enabled .Values.httpRoute.enabled }}
    # The ingress controller.
    - from:
        {{- include "common.peer" $np.ingressController | nindent 8 }}
      ports:
        - port: http
    {{- end }}
    {{- if ne .Values.service.type "ClusterIP" }}
    # Clients of the node's port. kube-proxy may replace their address by a node's or the network plugin's.
    - from:
        {{- range $np.nodePortClients }}
        - ipBlock:
            cidr: {{ . | quote }}
        {{- end }}
      ports:
        - port: http
    {{- end }}
    {{- with $np.extraIngress }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
  egress:
    # Cluster DNS.
    - to:
        {{- include "common.peer" $np.dns | nindent 8 }}
      ports:
        - port: 53
          protocol: UDP
        - port: 53
          protocol: TCP
    {{- with include (printf "%s.callees" (include "common.program" .)) . | trim }}
    {{- . | nindent 4 }}
    {{- end }}
    {{- with .Values.tracing.otlpEndpoint }}
    # The OTLP collector, in any namespace.
    - to:
        - namespaceSelector: {}
      ports:
        - port: {{ include "common.urlPort" . }}
    {{- end }}
    {{- with $np.extraEgress }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
{{- end -}}
{{- end -}}

{{/* common.peer: the pods with these labels in the namespace of this name. */}}
{{- define "common.peer" -}}
- namespaceSelector:
    matchLabels:
      kubernetes.io/metadata.name: {{ .namespace }}
  podSelector:
    matchLabels: {{- toYaml .podLabels | nindent 6 }}
{{- end -}}
