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
