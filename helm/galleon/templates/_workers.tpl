{{/* What a group of workers is, from its values, workerDefaults and pods. */}}

{{/* All groups by their names, with every value. */}}
{{- define "galleon.groups" -}}
{{- $groups := dict -}}
{{- range $name, $values := .Values.workers | default (dict "cpu" dict) -}}
{{- $group := mustMergeOverwrite (deepCopy $.Values.pods) (deepCopy $.Values.workerDefaults) (deepCopy $values) -}}
{{- if not $group.slots -}}
{{- $_ := set $group "slots" (max 1 (int $group.gpus)) -}}
{{- end -}}
{{- $_ := set $group "image" ($group.image | default (gt (int $group.gpus) 0 | ternary $.Values.image.workerCuda $.Values.image.worker)) -}}
{{- $_ := set $groups $name $group -}}
{{- end -}}
{{- toYaml $groups -}}
{{- end -}}

{{/* Whether some group's pods have the addresses of their nodes: true or nothing. */}}
{{- define "galleon.someHostNetwork" -}}
{{- range include "galleon.groups" . | fromYaml -}}{{- if .hostNetwork -}}true{{- end -}}{{- end -}}
{{- end -}}

{{/* Kubernetes' quantity in bytes: 8Gi, 500M, 1024. */}}
{{- define "galleon.bytes" -}}
{{- $text := toString . -}}
{{- $units := dict "Ki" 1024 "Mi" 1048576 "Gi" 1073741824 "Ti" 1099511627776 "Pi" 1125899906842624 "k" 1000 "M" 1000000 "G" 1000000000 "T" 1000000000000 "P" 1000000000000000 -}}
{{- $unit := regexFind "[A-Za-z]+$" $text -}}
{{- $number := trimSuffix $unit $text -}}
{{- mulf (float64 $number) (float64 (get $units $unit | default 1)) | floor | int64 -}}
{{- end -}}

{{/* Thousandths of a processor: 2, 0.5, 500m. */}}
{{- define "galleon.millicores" -}}
{{- $text := toString . -}}
{{- if hasSuffix "m" $text -}}{{- trimSuffix "m" $text | int64 -}}{{- else -}}{{- mulf (float64 $text) 1000.0 | int64 -}}{{- end -}}
{{- end -}}

{{/* Bytes that a slot of processors offers: what is given, or 95 % of the limit, since a daemon and page tables want room too. */}}
{{- define "galleon.slotMemory" -}}
{{- if .memoryPerSlot -}}
{{- include "galleon.bytes" .memoryPerSlot -}}
{{- else -}}
{{- divf (mulf (include "galleon.bytes" .resources.limits.memory | float64) 0.95) (float64 .slots) | floor | int64 -}}
{{- end -}}
{{- end -}}

{{/* Threads of a trainer: what is given, or the processors of the pod over its slots. */}}
{{- define "galleon.threads" -}}
{{- if gt (int .threads) 0 -}}
{{- int .threads -}}
{{- else -}}
{{- $cores := include "galleon.millicores" (dig "limits" "cpu" (dig "requests" "cpu" "1" .resources) .resources) | float64 -}}
{{- max 1 (divf (divf $cores 1000.0) (float64 .slots) | floor | int) -}}
{{- end -}}
{{- end -}}

{{/* Resources of a worker's container, its devices among them. */}}
{{- define "galleon.workerResources" -}}
{{- $devices := deepCopy .rdma.resources -}}
{{- if and (gt (int .gpus) 0) .gpuResource -}}
{{- $_ := set $devices .gpuResource (int .gpus) -}}
{{- end -}}
{{- $resources := dict "requests" (.resources.requests | default dict) "limits" (merge $devices (.resources.limits | default dict)) -}}
{{- if .resourceClaims -}}
{{- $claims := list -}}
{{- range .resourceClaims -}}{{- $claims = append $claims (dict "name" .name) -}}{{- end -}}
{{- $_ := set $resources "claims" $claims -}}
{{- end -}}
{{- toYaml $resources -}}
{{- end -}}
