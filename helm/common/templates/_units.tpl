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
