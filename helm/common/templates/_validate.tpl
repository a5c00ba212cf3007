{{/* common.validate: what a schema cannot say because it compares two values. Every message names its keys. */}}
{{- define "common.validate" -}}
{{- $v := .Values -}}
{{- if eq $v.environment "production" -}}
{{- if and (eq (include "common.tagMoves" .) "true") (empty $v.image.digest) -}}
{{- fail (printf "image.tag: %q moves, so nobody could say what production runs; give the tag of one build (%s-<short sha>) or image.digest, or set environment: development" $v.image.tag .Chart.Name) -}}
{{- end -}}
{{- end -}}
{{- if gt (int $v.shutdown.preStopSleepSeconds) 0 -}}
{{- if semverCompare "<1.30-0" .Capabilities.KubeVersion.Version -}}
{{- fail (printf "shutdown.preStopSleepSeconds: needs Kubernetes 1.30, this cluster is %s; leave it 0 and use shutdown.delay" .Capabilities.KubeVersion.Version) -}}
{{- end -}}
{{- end -}}
{{- $needed := add (mul 1000 (int $v.shutdown.preStopSleepSeconds)) (include "common.milliseconds" $v.shutdown.delay) (include "common.milliseconds" $v.shutdown.grace) -}}
{{- if ge $needed (mul 1000 (int64 $v.shutdown.terminationGracePeriodSeconds)) -}}
{{- fail (printf "shutdown.terminationGracePeriodSeconds: %d is too short: it has to exceed shutdown.preStopSleepSeconds (%d) + shutdown.delay (%s) + shutdown.grace (%s), or Kubernetes kills the pod while it still answers" (int64 $v.shutdown.terminationGracePeriodSeconds) (int $v.shutdown.preStopSleepSeconds) $v.shutdown.delay $v.shutdown.grace) -}}
{{- end -}}
{{- if eq (int $v.server.port) (int $v.server.adminPort) -}}
{{- fail (printf "server.adminPort: %d is server.port as well; choose another, or 0 for one port" (int $v.server.port)) -}}
{{- end -}}
{{- if and (eq (int $v.rollout.maxSurge) 0) (eq (int $v.rollout.maxUnavailable) 0) -}}
{{- fail "rollout.maxSurge: 0 while rollout.maxUnavailable is 0 leaves a rolling update no way to go on; raise one of them" -}}
{{- end -}}
{{- if $v.autoscaling.enabled -}}
{{- if lt (int $v.autoscaling.maxReplicas) (int $v.autoscaling.minReplicas) -}}
{{- fail (printf "autoscaling.maxReplicas: %d is less than autoscaling.minReplicas (%d)" (int $v.autoscaling.maxReplicas) (int $v.autoscaling.minReplicas)) -}}
{{- end -}}
{{- if empty (dig "requests" "cpu" "" $v.resources) -}}
{{- fail "resources.requests.cpu: autoscaling.targetCPUUtilization is a share of it; give it a value" -}}
{{- end -}}
{{- end -}}
{{- with dig "limits" "memory" "" $v.resources -}}
{{- if and $v.cache.enabled (lt (include "common.bytes" . | int64) (mul 2 (include "common.bytes" $v.cache.maxBytes))) -}}
{{- fail (printf "resources.limits.memory: %s is less than twice cache.maxBytes (%s); a full cache would get the pod killed" . $v.cache.maxBytes) -}}
{{- end -}}
{{- end -}}
{{- if and $v.ingress.enabled (empty $v.ingress.host) (not (empty $v.ingress.tlsSecret)) -}}
{{- fail "ingress.host: ingress.tlsSecret needs the host name that its certificate is for" -}}
{{- end -}}
{{- if and $v.httpRoute.enabled (empty $v.httpRoute.parentRefs) -}}
{{- fail "httpRoute.parentRefs: name the Gateway that serves this route, for example [{name: traefik-gateway, namespace: kube-system}]" -}}
{{- end -}}
{{- $own := include "common.env" . | fromYamlArray -}}
{{- range $extra := $v.extraEnv -}}
{{- range $own -}}
{{- if eq .name $extra.name -}}
{{- fail (printf "extraEnv: %s is set by a value of this chart already; change it there" .name) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- include (printf "%s.validate" .Chart.Name) . -}}
{{- end -}}

{{/* common.shorter: fails unless the first of two durations is the shorter; takes a list of name, value, name, value. */}}
{{- define "common.shorter" -}}
{{- if ge (include "common.milliseconds" (index . 1) | int64) (include "common.milliseconds" (index . 3) | int64) -}}
{{- fail (printf "%s: %s has to be shorter than %s (%s), the timeout around it" (index . 0) (index . 1) (index . 2) (index . 3)) -}}
{{- end -}}
{{- end -}}
