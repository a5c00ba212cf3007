{{- define "common.deployment" -}}
apiVersion: apps/v1
kind: Deployment
metadata:
  name: {{ include "common.fullname" . }}
  namespace: {{ .Release.Namespace }}
  labels: {{- include "common.labels" . | nindent 4 }}
  {{- with .Values.deploymentAnnotations }}
  annotations: {{- toYaml . | nindent 4 }}
  {{- end }}
spec:
  replicas: {{ include "common.replicas" . }}
  revisionHistoryLimit: 5
  strategy:
    type: RollingUpdate
    rollingUpdate:
      maxSurge: {{ include "common.count" .Values.rollout.maxSurge }}
      maxUnavailable: {{ include "common.count" .Values.rollout.maxUnavailable }}
  selector:
    matchLabels: {{- include "common.selectorLabels" . | nindent 6 }}
  template:
    metadata:
      labels:
        {{- include "common.selectorLabels" . | nindent 8 }}
        app.kubernetes.io/version: {{ include "common.versionLabel" . }}
        {{- with merge (dict) .Values.podLabels .Values.commonLabels }}
        {{- toYaml . | nindent 8 }}
        {{- end }}
      {{- with merge (dict) .Values.podAnnotations (include (printf "%s.podAnnotations" (include "common.program" .)) . | fromYaml) }}
      annotations: {{- toYaml . | nindent 8 }}
      {{- end }}
    spec:
      serviceAccountName: {{ include "common.serviceAccountName" . }}
      automountServiceAccountToken: false
      enableServiceLinks: false
      terminationGracePeriodSeconds: {{ int64 .Values.shutdown.terminationGracePeriodSeconds }}
      {{- with .Values.imagePullSecrets }}
      imagePullSecrets: {{- toYaml . | nindent 8 }}
      {{- end }}
      {{- with .Values.priorityClassName }}
      priorityClassName: {{ . }}
      {{- end }}
      securityContext: {{- toYaml .Values.podSecurityContext | nindent 8 }}
      {{- with include (printf "%s.sidecars" (include "common.program" .)) . | trim }}
      initContainers: {{- . | nindent 8 }}
      {{- end }}
      containers:
        - name: {{ include "common.program" . }}
          image: {{ include "common.image" . | quote }}
          imagePullPolicy: {{ include "common.pullPolicy" . }}
          ports:
            - name: http
              containerPort: {{ int .Values.server.port }}
            {{- if .Values.server.adminPort }}
            - name: admin
              containerPort: {{ int .Values.server.adminPort }}
            {{- end }}
          env:
            {{- include "common.env" . | trim | nindent 12 }}
            {{- with .Values.extraEnv }}
            {{- toYaml . | nindent 12 }}
            {{- end }}
          {{- with .Values.extraEnvFrom }}
          envFrom: {{- toYaml . | nindent 12 }}
          {{- end }}
          {{- range $probe, $path := dict "startupProbe" "/livez" "livenessProbe" "/livez" "readinessProbe" "/readyz" }}
          {{ $probe }}:
            httpGet:
              path: {{ $path }}
              port: {{ include "common.probePort" $ }}
            {{- get $.Values.probes (trimSuffix "Probe" $probe) | toYaml | nindent 12 }}
          {{- end }}
          {{- if .Values.shutdown.preStopSleepSeconds }}
          lifecycle:
            preStop:
              sleep:
                seconds: {{ int .Values.shutdown.preStopSleepSeconds }}
          {{- end }}
          resources: {{- toYaml .Values.resources | nindent 12 }}
          securityContext: {{- toYaml .Values.containerSecurityContext | nindent 12 }}
          {{- with include "common.volumeMounts" . | trim }}
          volumeMounts: {{- . | nindent 12 }}
          {{- end }}
      {{- with include "common.volumes" . | trim }}
      volumes: {{- . | nindent 8 }}
      {{- end }}
      topologySpreadConstraints:
        {{- range .Values.topologySpreadConstraints }}
        - {{ include "common.withDefaults" (list . (dict "labelSelector" (dict "matchLabels" (include "common.selectorLabels" $ | fromYaml)))) | indent 10 | trim }}
        {{- else }}
        {{- range list "kubernetes.io/hostname" "topology.kubernetes.io/zone" }}
        - topologyKey: {{ . }}
          maxSkew: 1
          whenUnsatisfiable: {{ $.Values.topologySpread.whenUnsatisfiable }}
          # The scheduler counts the pods of one revision only, without those that a rolling update replaces.
          matchLabelKeys: [pod-template-hash]
          labelSelector:
            matchLabels: {{- include "common.selectorLabels" $ | nindent 14 }}
        {{- end }}
        {{- end }}
      {{- with .Values.dnsConfig }}
      dnsConfig: {{- toYaml . | nindent 8 }}
      {{- end }}
      {{- with .Values.hostAliases }}
      hostAliases: {{- toYaml . | nindent 8 }}
      {{- end }}
      {{- with .Values.nodeSelector }}
      nodeSelector: {{- toYaml . | nindent 8 }}
      {{- end }}
      {{- with .Values.tolerations }}
      tolerations: {{- toYaml . | nindent 8 }}
      {{- end }}
      {{- with .Values.affinity }}
      affinity: {{- toYaml . | nindent 8 }}
      {{- end }}
{{- end -}}
