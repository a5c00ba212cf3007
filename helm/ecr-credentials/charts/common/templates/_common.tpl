{{/* Generated from helm/common/templates/_availability.tpl */}}
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

{{/* Generated from helm/common/templates/_awscredentials.tpl */}}
{{/*
A pod's AWS credentials, for a value of the form {from, secretName, roleArn, rolesAnywhere}:
from a Secret, from a role by the ServiceAccount's token, from IAM Roles Anywhere, or from the pod's environment (ambient).
*/}}

{{- define "common.awsCredentialsValidate" -}}
{{- $c := .Values.aws.credentials -}}
{{- if and (has $c.from (list "role" "rolesAnywhere")) (empty $c.roleArn) -}}
{{- fail (printf "aws.credentials.roleArn: aws.credentials.from is %q; set it to the role to assume" $c.from) -}}
{{- end -}}
{{- if and (eq $c.from "secret") (empty $c.secretName) -}}
{{- fail "aws.credentials.secretName: aws.credentials.from is \"secret\"; set it to the Secret's name" -}}
{{- end -}}
{{- if eq $c.from "rolesAnywhere" -}}
{{- range list "trustAnchorArn" "profileArn" "certificateSecret" -}}
{{- if empty (get $c.rolesAnywhere .) -}}
{{- fail (printf "aws.credentials.rolesAnywhere.%s: aws.credentials.from is \"rolesAnywhere\"; set it" .) -}}
{{- end -}}
{{- end -}}
{{- if semverCompare "<1.29-0" .Capabilities.KubeVersion.Version -}}
{{- fail (printf "aws.credentials.from: rolesAnywhere needs sidecar containers, and so Kubernetes 1.29; this cluster is %s" .Capabilities.KubeVersion.Version) -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{/* common.awsCredentialsSettings: the variables as a map. With a Secret or a role, the SDK must not fall back to the node's role. */}}
{{- define "common.awsCredentialsSettings" -}}
{{- $c := .Values.aws.credentials }}
{{- if eq $c.from "role" }}
AWS_ROLE_ARN: {{ $c.roleArn | quote }}
AWS_WEB_IDENTITY_TOKEN_FILE: /var/run/secrets/eks.amazonaws.com/serviceaccount/token
{{- end }}
{{- if eq $c.from "rolesAnywhere" }}
AWS_EC2_METADATA_SERVICE_ENDPOINT: http://127.0.0.1:9911
{{- else if ne $c.from "ambient" }}
AWS_EC2_METADATA_DISABLED: "true"
{{- end }}
{{- end -}}

{{- define "common.awsCredentialsSecretEnv" -}}
{{- if eq .Values.aws.credentials.from "secret" }}
{{- range $name, $optional := dict "AWS_ACCESS_KEY_ID" false "AWS_SECRET_ACCESS_KEY" false "AWS_SESSION_TOKEN" true }}
- name: {{ $name }}
  valueFrom:
    secretKeyRef:
      name: {{ $.Values.aws.credentials.secretName }}
      key: {{ $name }}
      optional: {{ $optional }}
{{- end }}
{{- end }}
{{- end -}}

{{/* common.awsCredentialsFiles: the token has the name and path of EKS's webhook, so that the webhook does not add a second one. */}}
{{- define "common.awsCredentialsFiles" -}}
{{- if eq .Values.aws.credentials.from "role" }}
- name: aws-iam-token
  mountPath: /var/run/secrets/eks.amazonaws.com/serviceaccount
  volume:
    projected:
      defaultMode: 0440
      sources:
        - serviceAccountToken:
            audience: sts.amazonaws.com
            expirationSeconds: 3600
            path: token
{{- end }}
{{- end -}}

{{- define "common.awsCredentialsAnnotations" -}}
{{- if eq .Values.aws.credentials.from "role" -}}
eks.amazonaws.com/role-arn: {{ .Values.aws.credentials.roleArn | quote }}
{{- end -}}
{{- end -}}

{{/* common.awsCredentialsSidecars: AWS's signing helper serves the API of the instance metadata service on loopback. */}}
{{- define "common.awsCredentialsSidecars" -}}
{{- if eq .Values.aws.credentials.from "rolesAnywhere" }}
{{- $c := .Values.aws.credentials }}
- name: aws-signing-helper
  image: {{ $c.rolesAnywhere.image | quote }}
  imagePullPolicy: IfNotPresent
  restartPolicy: Always
  args:
    - serve
    - --port=9911
    - --certificate=/run/secrets/rolesanywhere/tls.crt
    - --private-key=/run/secrets/rolesanywhere/tls.key
    - --trust-anchor-arn={{ $c.rolesAnywhere.trustAnchorArn }}
    - --profile-arn={{ $c.rolesAnywhere.profileArn }}
    - --role-arn={{ $c.roleArn }}
  resources:
    requests:
      cpu: 10m
      memory: 32Mi
    limits:
      memory: 128Mi
  securityContext: {{- toYaml .Values.containerSecurityContext | nindent 4 }}
  volumeMounts:
    - name: rolesanywhere-certificate
      mountPath: /run/secrets/rolesanywhere
      readOnly: true
{{- end }}
{{- end -}}

{{- define "common.awsCredentialsSidecarVolumes" -}}
{{- if eq .Values.aws.credentials.from "rolesAnywhere" }}
- name: rolesanywhere-certificate
  secret:
    secretName: {{ .Values.aws.credentials.rolesAnywhere.certificateSecret }}
    defaultMode: 0440
{{- end }}
{{- end -}}

{{/* Generated from helm/common/templates/_deployment.tpl */}}
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

{{/* Generated from helm/common/templates/_env.tpl */}}
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

{{/* Generated from helm/common/templates/_manifests.tpl */}}
{{/* common.manifests: all objects of a service's chart, in this order. */}}
{{- define "common.manifests" -}}
{{- include "common.normalise" . -}}
{{- if .Values.enabled -}}
{{- include "common.validate" . -}}
{{- range $kind := list "serviceaccount" "deployment" "service" "disruptionbudget" "autoscaler" "networkpolicy" "ingress" "httproute" "servicemonitor" "test" -}}
{{- with include (printf "common.%s" $kind) $ | trim }}
---
{{ . }}
{{- end -}}
{{- end -}}
{{- with include (printf "%s.manifests" (include "common.program" .)) . | trim }}
---
{{ . }}
{{- end -}}
{{- end -}}
{{- end -}}

{{/* Generated from helm/common/templates/_names.tpl */}}
{{/* common.program: the program's name. `.Chart.Name` is another name where the chart is a dependency with an alias. */}}
{{- define "common.program" -}}
{{- .Chart.Annotations.program -}}
{{- end -}}

{{/* common.name: the name in labels and selectors. */}}
{{- define "common.name" -}}
{{- default .Chart.Name .Values.nameOverride -}}
{{- end -}}

{{/* common.fullname: the name of all objects. It does not depend on the release's name, so that clients find the Service. */}}
{{- define "common.fullname" -}}
{{- default (include "common.name" .) .Values.fullnameOverride -}}
{{- end -}}

{{- define "common.selectorLabels" -}}
app.kubernetes.io/name: {{ include "common.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{- define "common.labels" -}}
{{ include "common.selectorLabels" . }}
{{ include "common.metaLabels" . }}
{{- end -}}

{{/* common.metaLabels: the labels that no selector uses. */}}
{{- define "common.metaLabels" -}}
app.kubernetes.io/version: {{ include "common.versionLabel" . }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{- with .Values.commonLabels }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{- define "common.versionLabel" -}}
{{ include "common.tag" . | trunc 63 | trimAll "-_." | quote }}
{{- end -}}

{{- define "common.serviceAccountName" -}}
{{- default (ternary (include "common.fullname" .) "default" .Values.serviceAccount.create) .Values.serviceAccount.name -}}
{{- end -}}

{{/* common.tag: both services share one repository, so the tag names the service too. */}}
{{- define "common.tag" -}}
{{- default (printf "%s-%s" (include "common.program" .) .Chart.AppVersion) .Values.image.tag -}}
{{- end -}}

{{- define "common.image" -}}
{{- printf "%s:%s" .Values.image.repository (include "common.tag" .) -}}
{{- with .Values.image.digest }}@{{ . }}{{ end -}}
{{- end -}}

{{/* common.pullPolicy: a tag that moves has to be resolved at every start; any other is pulled once. */}}
{{- define "common.pullPolicy" -}}
{{- default (ternary "Always" "IfNotPresent" (and (eq (include "common.tagMoves" .) "true") (empty .Values.image.digest))) .Values.image.pullPolicy -}}
{{- end -}}

{{- define "common.tagMoves" -}}
{{- regexMatch "(^|-)latest$" (include "common.tag" .) -}}
{{- end -}}

{{/* common.probePort: the name of the container's port for probes and /metrics. */}}
{{- define "common.probePort" -}}
{{- ternary "admin" "http" (gt (int .Values.server.adminPort) 0) -}}
{{- end -}}

{{/* common.mostPods: the largest possible number of pods, a rolling update's extra ones included. Kubernetes rounds a percentage up. */}}
{{- define "common.mostPods" -}}
{{- $pods := ternary .Values.autoscaling.maxReplicas .Values.replicas .Values.autoscaling.enabled | int -}}
{{- $surge := toString .Values.rollout.maxSurge -}}
{{- if hasSuffix "%" $surge -}}
{{- add $pods (divf (mul $pods (trimSuffix "%" $surge | int)) 100 | ceil) -}}
{{- else -}}
{{- add $pods (int $surge) -}}
{{- end -}}
{{- end -}}

{{/*
common.replicas: with autoscaling, the number that is running, and at least minReplicas. Without the field the API server would
reduce the pods to one. Only `helm install` and `helm upgrade` see what is running; Argo CD preserves the running number by
ignoreDifferences (helm/argocd).
*/}}
{{- define "common.replicas" -}}
{{- if .Values.autoscaling.enabled -}}
{{- $running := lookup "apps/v1" "Deployment" .Release.Namespace (include "common.fullname" .) | dig "spec" "replicas" 0 -}}
{{- max (int $running) (int .Values.autoscaling.minReplicas) -}}
{{- else -}}
{{- int .Values.replicas -}}
{{- end -}}
{{- end -}}

{{/* Generated from helm/common/templates/_networkpolicy.tpl */}}
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

{{/* Generated from helm/common/templates/_notes.tpl */}}
{{- /* common.notes: the three commands that come next, then short notes. */}}
{{- define "common.notes" -}}
{{- include "common.normalise" . -}}
{{- if .Values.enabled -}}
{{- $name := include "common.fullname" . -}}
{{- $route := include (printf "%s.testRoute" (include "common.program" .)) . -}}
{{- $auth := ternary " -H \"Authorization: Bearer $TOKEN\"" "" (not (empty .Values.auth.tokensSecret.name)) -}}
{{ $name }} runs {{ include "common.image" . }} in namespace {{ .Release.Namespace }}.

1. Wait until it is ready{{ with include (printf "%s.requiredSecret" (include "common.program" .)) . }}. The pods start once the Secret {{ . }} exists (below){{ end }}:

  kubectl -n {{ .Release.Namespace }} rollout status deployment/{{ $name }}

2. Send a request:
{{ with .Values.auth.tokensSecret }}{{ if .name }}
  TOKEN=$(kubectl -n {{ $.Release.Namespace }} get secret {{ .name }} -o jsonpath='{.data.{{ .key | replace "." "\\." }}}' | base64 -d | grep -m 1 '^[^#]')
{{- end }}{{ end }}
{{- if eq .Values.service.type "NodePort" }}
  NODE=$(kubectl get nodes -o jsonpath='{.items[0].status.addresses[?(@.type=="InternalIP")].address}')
  {{- if .Values.service.nodePort }}
  PORT={{ int .Values.service.nodePort }}
  {{- else }}
  PORT=$(kubectl -n {{ .Release.Namespace }} get service {{ $name }} -o jsonpath='{.spec.ports[0].nodePort}')
  {{- end }}
  curl{{ $auth }} "http://$NODE:$PORT{{ $route }}"
{{ else if eq .Values.service.type "LoadBalancer" }}
  HOST=$(kubectl -n {{ .Release.Namespace }} get service {{ $name }} -o jsonpath='{.status.loadBalancer.ingress[0].ip}{.status.loadBalancer.ingress[0].hostname}')
  curl{{ $auth }} "http://$HOST:{{ int .Values.server.port }}{{ $route }}"
{{ else }}
  kubectl -n {{ .Release.Namespace }} port-forward service/{{ $name }} {{ int .Values.server.port }} &
  curl{{ $auth }} http://127.0.0.1:{{ int .Values.server.port }}{{ $route }}
{{ end }}
3. Test it from inside the cluster:

  helm -n {{ .Release.Namespace }} test {{ .Release.Name }}
{{- include (printf "%s.notes" (include "common.program" .)) . }}
{{- if .Values.ingress.enabled }}

Through the Ingress:

  curl{{ $auth }} {{ ternary "http" "https" (empty .Values.ingress.tlsSecret) }}://{{ default "<node>" .Values.ingress.host }}{{ include "common.ingressPath" . | trimSuffix "/" }}{{ $route }}
{{- if and (eq (include "common.ingressController" .) "other") (ne (include "common.ingressPath" .) "/") }}

The controller has to strip {{ .Values.ingress.path }} from the path; add its annotation for that to ingress.annotations.
{{- end }}
{{- end }}
{{- if not (contains "/" .Values.image.repository) }}

image.repository names no registry. Unless the nodes already have this image, set it to
<account>.dkr.ecr.<region>.amazonaws.com/{{ .Values.image.repository }}.
{{- end }}
{{- if empty .Values.auth.tokensSecret.name }}

Requests need no token, because auth.tokensSecret.name is empty: every client that reaches the port is served.
{{- end }}
{{- end -}}
{{- end -}}

{{/* Generated from helm/common/templates/_routes.tpl */}}
{{/* common.ingressController: traefik, nginx or other; from the class unless ingress.controller names it. */}}
{{- define "common.ingressController" -}}
{{- $class := .Values.ingress.className -}}
{{- default (ternary "traefik" (ternary "nginx" "other" (contains "nginx" $class)) (contains "traefik" $class)) .Values.ingress.controller -}}
{{- end -}}

{{/* common.ingressPath: the path, by default /<name> where this chart can have the controller strip it, and else /. */}}
{{- define "common.ingressPath" -}}
{{- default (ternary "/" (printf "/%s" (include "common.name" .)) (eq (include "common.ingressController" .) "other")) .Values.ingress.path -}}
{{- end -}}

{{/*
common.ingress: an Ingress for any controller. No field of an Ingress strips the prefix from the path, so Traefik gets a
Middleware and ingress-nginx a regular expression. The path / needs neither.
*/}}
{{- define "common.ingress" -}}
{{- if .Values.ingress.enabled -}}
{{- $name := include "common.fullname" . -}}
{{- $path := include "common.ingressPath" . -}}
{{- $strips := ternary "" (include "common.ingressController" .) (eq $path "/") -}}
{{- $annotations := dict -}}
{{- if eq $strips "traefik" -}}
{{- $annotations = dict "traefik.ingress.kubernetes.io/router.middlewares" (printf "%s-%s-strip-prefix@kubernetescrd" .Release.Namespace $name) }}
apiVersion: traefik.io/v1alpha1
kind: Middleware
metadata:
  name: {{ $name }}-strip-prefix
  namespace: {{ .Release.Namespace }}
  labels: {{- include "common.labels" . | nindent 4 }}
spec:
  stripPrefix:
    prefixes:
      - {{ $path | quote }}
---
{{- else if eq $strips "nginx" -}}
{{- $annotations = dict "nginx.ingress.kubernetes.io/use-regex" "true" "nginx.ingress.kubernetes.io/rewrite-target" "/$2" -}}
{{- end }}
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata:
  name: {{ $name }}
  namespace: {{ .Release.Namespace }}
  labels: {{- include "common.labels" . | nindent 4 }}
  {{- with merge $annotations .Values.ingress.annotations }}
  annotations: {{- toYaml . | nindent 4 }}
  {{- end }}
spec:
  {{- with .Values.ingress.className }}
  ingressClassName: {{ . }}
  {{- end }}
  rules:
    - {{ with .Values.ingress.host }}host: {{ . | quote }}
      {{ end }}http:
        paths:
          {{- if eq $strips "nginx" }}
          - path: {{ printf "%s(/|$)(.*)" ($path | replace "." "\\.") | quote }}
            pathType: ImplementationSpecific
          {{- else }}
          - path: {{ $path | quote }}
            pathType: Prefix
          {{- end }}
            backend:
              service:
                name: {{ $name }}
                port:
                  name: http
  {{- with .Values.ingress.tlsSecret }}
  tls:
    - secretName: {{ . }}
      hosts:
        - {{ $.Values.ingress.host | quote }}
  {{- end }}
{{- end -}}
{{- end -}}

{{/*
common.httproute: the same route for a Gateway API controller. It has all fields that the type's defaults would add in the
cluster, because Argo CD shows an added field of a custom resource as a difference from Git.
*/}}
{{- define "common.httproute" -}}
{{- if .Values.httpRoute.enabled -}}
{{- $path := default (printf "/%s" (include "common.name" .)) .Values.httpRoute.path -}}
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata:
  name: {{ include "common.fullname" . }}
  namespace: {{ .Release.Namespace }}
  labels: {{- include "common.labels" . | nindent 4 }}
spec:
  parentRefs:
    {{- range .Values.httpRoute.parentRefs }}
    - {{ include "common.withDefaults" (list . (dict "group" "gateway.networking.k8s.io" "kind" "Gateway")) | indent 6 | trim }}
    {{- end }}
  {{- with .Values.httpRoute.hostnames }}
  hostnames: {{- toYaml . | nindent 4 }}
  {{- end }}
  rules:
    - matches:
        - path:
            type: PathPrefix
            value: {{ $path | quote }}
      {{- if ne $path "/" }}
      filters:
        - type: URLRewrite
          urlRewrite:
            path:
              type: ReplacePrefixMatch
              replacePrefixMatch: /
      {{- end }}
      {{- with .Values.httpRoute.timeouts }}
      timeouts: {{- toYaml . | nindent 8 }}
      {{- end }}
      backendRefs:
        - group: ""
          kind: Service
          name: {{ include "common.fullname" . }}
          port: {{ int .Values.server.port }}
          weight: 1
{{- end -}}
{{- end -}}

{{/* Generated from helm/common/templates/_service.tpl */}}
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

{{/* Generated from helm/common/templates/_serviceaccount.tpl */}}
{{- define "common.serviceaccount" -}}
{{- if .Values.serviceAccount.create -}}
apiVersion: v1
kind: ServiceAccount
metadata:
  name: {{ include "common.serviceAccountName" . }}
  namespace: {{ .Release.Namespace }}
  labels: {{- include "common.labels" . | nindent 4 }}
  {{- with merge (dict) .Values.serviceAccount.annotations (include (printf "%s.serviceAccountAnnotations" (include "common.program" .)) . | fromYaml) }}
  annotations: {{- toYaml . | nindent 4 }}
  {{- end }}
automountServiceAccountToken: false
{{- end -}}
{{- end -}}

{{/* Generated from helm/common/templates/_servicemonitor.tpl */}}
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

{{/* Generated from helm/common/templates/_test.tpl */}}
{{/* common.testLabels: labels outside of the Service's selector, so that the Service sends no requests to the test's pod. */}}
{{- define "common.testLabels" -}}
app.kubernetes.io/name: {{ include "common.name" . }}-test
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{/* common.test: the pod of `helm test`. It sends requests through the Service and prints a problem response. */}}
{{- define "common.test" -}}
{{- $name := include "common.fullname" . -}}
{{- $url := printf "http://%s:%d" $name (int .Values.server.port) -}}
apiVersion: v1
kind: Pod
metadata:
  name: {{ $name }}-test
  namespace: {{ .Release.Namespace }}
  labels:
    {{- include "common.testLabels" . | nindent 4 }}
    {{- include "common.metaLabels" . | nindent 4 }}
  annotations:
    helm.sh/hook: test
    helm.sh/hook-delete-policy: before-hook-creation,hook-succeeded
spec:
  restartPolicy: Never
  automountServiceAccountToken: false
  enableServiceLinks: false
  {{- with .Values.imagePullSecrets }}
  imagePullSecrets: {{- toYaml . | nindent 4 }}
  {{- end }}
  securityContext: {{- toYaml .Values.podSecurityContext | nindent 4 }}
  containers:
    - name: curl
      image: {{ .Values.test.image | quote }}
      env:
        - name: URL
          value: {{ $url | quote }}
        - name: PROBE_URL
          value: {{ ternary (printf "http://%s-admin:%d" $name (int .Values.server.adminPort)) $url (gt (int .Values.server.adminPort) 0) | quote }}
        - name: ROUTE
          value: {{ include (printf "%s.testRoute" (include "common.program" .)) . | quote }}
        {{- if .Values.auth.tokensSecret.name }}
        - name: TOKEN_FILE
          value: {{ printf "/run/secrets/auth/%s" .Values.auth.tokensSecret.key | quote }}
        {{- end }}
      command: ["/bin/sh", "-euc"]
      args:
        - |
          token=$(grep -m 1 '^[^#]' "${TOKEN_FILE:-/dev/null}" || true)
          get() {
            echo "GET $1" >&2
            curl --fail-with-body --silent --show-error --max-time 20 --retry 3 --retry-connrefused --retry-max-time 60 \
              ${token:+--header "Authorization: Bearer $token"} "$1"
            echo
          }
          get "$PROBE_URL/livez"
          get "$PROBE_URL/readyz"
          get "$PROBE_URL/metrics" | grep '^build_info'
          get "$URL$ROUTE"
      resources:
        requests:
          cpu: 10m
          memory: 16Mi
        limits:
          memory: 64Mi
      securityContext: {{- toYaml .Values.containerSecurityContext | nindent 8 }}
      {{- if .Values.auth.tokensSecret.name }}
      volumeMounts:
        - name: auth-tokens
          mountPath: /run/secrets/auth
          readOnly: true
  volumes:
    - name: auth-tokens
      secret:
        secretName: {{ .Values.auth.tokensSecret.name }}
        defaultMode: 0440
      {{- end }}
{{- end -}}

{{/* Generated from helm/common/templates/_units.tpl */}}
{{/* common.milliseconds: a duration of the services' form (1m30s) in milliseconds. The schema has validated the form. */}}
{{- define "common.milliseconds" -}}
{{- $units := dict "ms" 1 "s" 1000 "m" 60000 "h" 3600000 "d" 86400000 -}}
{{- $sum := 0 -}}
{{- range regexFindAll "[0-9]+[a-z]+" . -1 -}}
{{- $sum = add $sum (mul (regexFind "^[0-9]+" . | int64) (get $units (regexFind "[a-z]+$" .))) -}}
{{- end -}}
{{- $sum -}}
{{- end -}}

{{/* common.bytes: a size of the services' form (64MiB) or of Kubernetes' form (256Mi) in bytes. */}}
{{- define "common.bytes" -}}
{{- $units := dict "" 1 "k" 1000 "M" 1000000 "G" 1000000000 "T" 1000000000000 "Ki" 1024 "Mi" 1048576 "Gi" 1073741824 "Ti" 1099511627776 -}}
{{- $text := trimSuffix "B" (toString .) -}}
{{- mulf (regexFind "^[0-9.]+(e[0-9]+)?" $text | float64) (get $units (regexFind "[A-Za-z]*$" $text)) | int64 -}}
{{- end -}}

{{/* common.count: a number of pods, or a percentage of them as a quoted text. */}}
{{- define "common.count" -}}
{{- $text := toString . -}}
{{- ternary (quote $text) (int $text | toString) (hasSuffix "%" $text) -}}
{{- end -}}

{{/* common.urlPort: the port of a URL, or the default port of its scheme. */}}
{{- define "common.urlPort" -}}
{{- $url := urlParse . -}}
{{- regexFind "[0-9]+$" (regexFind ":[0-9]+$" $url.host) | default (ternary "443" "80" (eq $url.scheme "https")) -}}
{{- end -}}

{{/* Generated from helm/common/templates/_validate.tpl */}}
{{/* common.validate: rules that compare two values, which a schema cannot express. Every message names its keys. */}}
{{- define "common.validate" -}}
{{- $v := .Values -}}
{{- if eq $v.environment "production" -}}
{{- if and (eq (include "common.tagMoves" .) "true") (empty $v.image.digest) -}}
{{- fail (printf "image.tag: %q moves, so the running build would be unknown; set the tag of one build (%s-<short sha>) or image.digest, or set environment: development" $v.image.tag (include "common.program" .)) -}}
{{- end -}}
{{- end -}}
{{- if gt (int $v.shutdown.preStopSleepSeconds) 0 -}}
{{- if semverCompare "<1.30-0" .Capabilities.KubeVersion.Version -}}
{{- fail (printf "shutdown.preStopSleepSeconds: needs Kubernetes 1.30, this cluster is %s; leave it 0 and use shutdown.delay" .Capabilities.KubeVersion.Version) -}}
{{- end -}}
{{- end -}}
{{- $needed := add (mul 1000 (int $v.shutdown.preStopSleepSeconds)) (include "common.milliseconds" $v.shutdown.delay) (include "common.milliseconds" $v.shutdown.grace) -}}
{{- if ge $needed (mul 1000 (int64 $v.shutdown.terminationGracePeriodSeconds)) -}}
{{- fail (printf "shutdown.terminationGracePeriodSeconds: %d is too short: it has to exceed shutdown.preStopSleepSeconds (%d) + shutdown.delay (%s) + shutdown.grace (%s), or Kubernetes kills the pod before open requests have finished" (int64 $v.shutdown.terminationGracePeriodSeconds) (int $v.shutdown.preStopSleepSeconds) $v.shutdown.delay $v.shutdown.grace) -}}
{{- end -}}
{{- if eq (int $v.server.port) (int $v.server.adminPort) -}}
{{- fail (printf "server.adminPort: %d is server.port as well; choose another, or 0 for one port" (int $v.server.port)) -}}
{{- end -}}
{{- if and (has (toString $v.rollout.maxSurge) (list "0" "0%")) (has (toString $v.rollout.maxUnavailable) (list "0" "0%")) -}}
{{- fail "rollout.maxSurge: a rolling update cannot proceed while rollout.maxSurge and rollout.maxUnavailable are both 0; raise one of them" -}}
{{- end -}}
{{- if $v.autoscaling.enabled -}}
{{- if lt (int $v.autoscaling.maxReplicas) (int $v.autoscaling.minReplicas) -}}
{{- fail (printf "autoscaling.maxReplicas: %d is less than autoscaling.minReplicas (%d)" (int $v.autoscaling.maxReplicas) (int $v.autoscaling.minReplicas)) -}}
{{- end -}}
{{- if and (eq (int $v.autoscaling.targetCPUUtilization) 0) (eq (int $v.autoscaling.targetMemoryUtilization) 0) -}}
{{- fail "autoscaling.targetCPUUtilization: it and autoscaling.targetMemoryUtilization are both 0; set one of them" -}}
{{- end -}}
{{- range $resource, $target := dict "cpu" "CPU" "memory" "Memory" -}}
{{- if and (int (get $v.autoscaling (printf "target%sUtilization" $target))) (empty (dig "requests" $resource "" $v.resources)) -}}
{{- fail (printf "resources.requests.%s: autoscaling.target%sUtilization is a percentage of it; set it" $resource $target) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- with dig "limits" "memory" "" $v.resources -}}
{{- if and $v.cache.enabled (lt (include "common.bytes" . | int64) (mul 2 (include "common.bytes" $v.cache.maxBytes))) -}}
{{- fail (printf "resources.limits.memory: %v is less than twice cache.maxBytes (%s); a full cache would get the pod killed" . $v.cache.maxBytes) -}}
{{- end -}}
{{- end -}}
{{- if and $v.ingress.enabled (empty $v.ingress.host) (not (empty $v.ingress.tlsSecret)) -}}
{{- fail "ingress.host: set it to the host name of the certificate in ingress.tlsSecret" -}}
{{- end -}}
{{- if and $v.service.loadBalancerSourceRanges (ne $v.service.type "LoadBalancer") -}}
{{- fail (printf "service.loadBalancerSourceRanges: Kubernetes accepts it only with service.type: LoadBalancer, and the type is %s" $v.service.type) -}}
{{- end -}}
{{- if and $v.httpRoute.enabled (empty $v.httpRoute.parentRefs) -}}
{{- fail "httpRoute.parentRefs: add the Gateway that serves this route, for example [{name: traefik-gateway, namespace: kube-system}]" -}}
{{- end -}}
{{- $own := include "common.env" . | fromYamlArray -}}
{{- range $extra := $v.extraEnv -}}
{{- range $own -}}
{{- if eq .name $extra.name -}}
{{- fail (printf "extraEnv: %s is set by a value of this chart; change that value instead" .name) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- include (printf "%s.validate" (include "common.program" .)) . -}}
{{- end -}}

{{/* common.shorter: fails unless the first of two durations is the shorter one. The argument is a list of name, value, name, value. */}}
{{- define "common.shorter" -}}
{{- if ge (include "common.milliseconds" (index . 1) | int64) (include "common.milliseconds" (index . 3) | int64) -}}
{{- fail (printf "%s: %s has to be shorter than %s (%s), the timeout around it" (index . 0) (index . 1) (index . 2) (index . 3)) -}}
{{- end -}}
{{- end -}}

{{/* Generated from helm/common/templates/_values.tpl */}}
{{/*
common.normalise: gives every value that is null its default, as if the key were absent. Helm removes the default of a key whose
value is null (`podAnnotations:` with nothing behind it), so a template would fail at its first use. defaults.json holds the
defaults again, because a template cannot read values.yaml.
*/}}
{{- define "common.normalise" -}}
{{- include "common.dropNulls" .Values -}}
{{- include "common.fill" (list .Values (.Files.Get "defaults.json" | fromJson)) -}}
{{- end -}}

{{- define "common.dropNulls" -}}
{{- $map := . -}}
{{- range $key, $value := $map -}}
{{- if kindIs "invalid" $value -}}
{{- $_ := unset $map $key -}}
{{- else if kindIs "map" $value -}}
{{- include "common.dropNulls" $value -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{/*
common.fill: adds missing keys. The argument is a list of the values and the defaults. In labels and in Kubernetes' own objects
null removes a key, for example `resources: {limits: null}`.
*/}}
{{- define "common.fill" -}}
{{- $values := index . 0 -}}
{{- range $key, $default := index . 1 -}}
{{- if not (hasKey $values $key) -}}
{{- $_ := set $values $key $default -}}
{{- else if and (kindIs "map" $default) (not (has $key (list "resources" "podSecurityContext" "containerSecurityContext" "labels" "podLabels"))) -}}
{{- include "common.fill" (list (get $values $key) $default) -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{/* common.withDefaults: a map with missing keys added, as YAML. The argument is a list of the map and the defaults. */}}
{{- define "common.withDefaults" -}}
{{- $map := deepCopy (index . 0) -}}
{{- range $key, $default := index . 1 -}}
{{- if not (hasKey $map $key) -}}
{{- $_ := set $map $key $default -}}
{{- end -}}
{{- end -}}
{{- toYaml $map -}}
{{- end -}}

{{/* Generated from helm/common/templates/_volumes.tpl */}}
{{/* common.files: the container's mounts, as a list of name, mountPath and volume. */}}
{{- define "common.files" -}}
{{- with .Values.auth.tokensSecret }}
{{- if .name }}
{{- include "common.secretFile" (dict "name" "auth-tokens" "mountPath" "/run/secrets/auth" "secret" .) }}
{{- end }}
{{- end }}
{{- include (printf "%s.files" (include "common.program" .)) . }}
{{- end -}}

{{/* common.secretFile: one key of a Secret as a file. The mount is the folder, because a mounted file would not receive a changed Secret. */}}
{{- define "common.secretFile" }}
- name: {{ .name }}
  mountPath: {{ .mountPath }}
  volume:
    secret:
      secretName: {{ .secret.name }}
      defaultMode: 0440
      items:
        - key: {{ .secret.key }}
          path: {{ .secret.key }}
{{- end -}}

{{- define "common.volumes" -}}
{{- range include "common.files" . | fromYamlArray }}
- name: {{ .name }}
  {{- toYaml .volume | nindent 2 }}
{{- end }}
{{- include (printf "%s.sidecarVolumes" (include "common.program" .)) . }}
{{- with .Values.extraVolumes }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{- define "common.volumeMounts" -}}
{{- range include "common.files" . | fromYamlArray }}
- name: {{ .name }}
  mountPath: {{ .mountPath }}
  readOnly: true
{{- end }}
{{- with .Values.extraVolumeMounts }}
{{ toYaml . }}
{{- end }}
{{- end -}}

