{{- define "galleon.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 40 | trimSuffix "-" -}}
{{- else if contains .Chart.Name .Release.Name -}}
{{- .Release.Name | trunc 40 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name .Chart.Name | trunc 40 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{- define "galleon.selector" -}}
app.kubernetes.io/name: galleon
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{- define "galleon.labels" -}}
{{ include "galleon.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version }}
{{- end -}}

{{/* dict "root" $ "repository" string */}}
{{- define "galleon.image" -}}
{{- $tag := .root.Values.image.tag | default .root.Chart.AppVersion -}}
{{- if hasPrefix "sha256:" $tag -}}
{{- printf "%s%s@%s" .root.Values.image.registry .repository $tag -}}
{{- else if or (contains "@" .repository) (contains ":" .repository) -}}
{{- printf "%s%s" .root.Values.image.registry .repository -}}
{{- else -}}
{{- printf "%s%s:%s" .root.Values.image.registry .repository $tag -}}
{{- end -}}
{{- end -}}

{{/* dict "root" $ "who" scheduler|worker|admin */}}
{{- define "galleon.tlsSecret" -}}
{{- index .root.Values.tls.secrets .who | default (printf "%s-%s-tls" (include "galleon.fullname" .root) .who) -}}
{{- end -}}

{{/* The folder that --tls wants, from a secret of kind kubernetes.io/tls. */}}
{{- define "galleon.tlsVolume" -}}
name: tls
secret:
  secretName: {{ include "galleon.tlsSecret" . }}
  defaultMode: 0440
  items:
    - {key: ca.crt, path: ca.pem}
    - {key: tls.crt, path: cert.pem}
    - {key: tls.key, path: key.pem}
{{- end -}}

{{- define "galleon.server" -}}
{{ include "galleon.fullname" . }}-scheduler.{{ .Release.Namespace }}.svc:7070
{{- end -}}

{{- define "galleon.podSecurityContext" -}}
runAsNonRoot: true
runAsUser: {{ .Values.podSecurity.runAsUser }}
runAsGroup: {{ .Values.podSecurity.runAsGroup }}
fsGroup: {{ .Values.podSecurity.fsGroup }}
fsGroupChangePolicy: OnRootMismatch
seccompProfile: {type: RuntimeDefault}
{{- end -}}

{{- define "galleon.containerSecurityContext" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities: {drop: [ALL]}
{{- end -}}

{{- define "galleon.pullSecrets" -}}
{{- with .Values.image.pullSecrets }}
imagePullSecrets:
{{- range . }}
  - name: {{ . }}
{{- end }}
{{- end }}
{{- end -}}

{{- define "galleon.jobsClaim" -}}
{{- .Values.storage.jobs.existingClaim | default (printf "%s-jobs" (include "galleon.fullname" .)) -}}
{{- end -}}

{{/* dict "name" scheduling fields of a pod, from a values map */}}
{{- define "galleon.scheduling" -}}
{{- with .nodeSelector }}
nodeSelector: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .tolerations }}
tolerations: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .affinity }}
affinity: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .priorityClassName }}
priorityClassName: {{ . }}
{{- end }}
{{- end -}}

{{- define "galleon.scrapeAnnotations" -}}
{{- if .Values.metrics.scrapeAnnotations }}
prometheus.io/scrape: "true"
prometheus.io/port: "9090"
prometheus.io/path: /metrics
{{- end }}
{{- end -}}

{{/* Kubernetes' quantity in bytes: 8Gi, 500M, 1024. */}}
{{- define "galleon.bytes" -}}
{{- $text := toString . -}}
{{- $units := dict "Ki" 1024 "Mi" 1048576 "Gi" 1073741824 "Ti" 1099511627776 "k" 1000 "M" 1000000 "G" 1000000000 "T" 1000000000000 -}}
{{- $unit := regexFind "[A-Za-z]+$" $text -}}
{{- $number := trimSuffix $unit $text -}}
{{- mulf (float64 $number) (float64 (get $units $unit | default 1)) | floor | int64 -}}
{{- end -}}

{{/* dict "root" $ "weight" string: what comes before everything else at an installation. */}}
{{- define "galleon.hook" -}}
labels: {{- include "galleon.labels" .root | nindent 2 }}
annotations:
  helm.sh/hook: pre-install,pre-upgrade
  helm.sh/hook-weight: {{ .weight | quote }}
  helm.sh/hook-delete-policy: before-hook-creation,hook-succeeded
{{- end }}

{{/* Bytes that a slot offers: what is given, or 95 % of the limit, since a daemon and page tables want room too. */}}
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
{{- .threads -}}
{{- else -}}
{{- $cpu := dig "limits" "cpu" (dig "requests" "cpu" "1" .resources) .resources | toString -}}
{{- $cores := 0.0 -}}
{{- if hasSuffix "m" $cpu -}}
{{- $cores = divf (trimSuffix "m" $cpu | float64) 1000.0 -}}
{{- else -}}
{{- $cores = float64 $cpu -}}
{{- end -}}
{{- max 1 (divf $cores (float64 .slots) | floor | int) -}}
{{- end -}}
{{- end -}}
