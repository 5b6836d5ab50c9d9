{{/* What the chart's pods have in common. */}}

{{/* Values of a pod, with those of all pods below them: dict "root" $ "pod" map */}}
{{- define "galleon.podValues" -}}
{{- mustMergeOverwrite (deepCopy .root.Values.pods) (deepCopy .pod) | toYaml -}}
{{- end -}}

{{/* A map without what is null. */}}
{{- define "galleon.given" -}}
{{- $given := dict -}}
{{- range $key, $value := . -}}
{{- if not (kindIs "invalid" $value) -}}{{- $_ := set $given $key $value -}}{{- end -}}
{{- end -}}
{{- toYaml $given -}}
{{- end -}}

{{/* dict "root" $ "pod" map "component" string, and if it has some "group", "annotations", "scraped" bool */}}
{{- define "galleon.podMetadata" -}}
labels: {{- merge (include "galleon.selector" . | fromYaml) (dict "app.kubernetes.io/version" .root.Chart.AppVersion) .pod.podLabels .root.Values.commonLabels | toYaml | nindent 2 }}
{{- $own := .annotations | default dict -}}
{{- if and .scraped .root.Values.metrics.scrapeAnnotations -}}
{{- $own = merge (dict "prometheus.io/scrape" "true" "prometheus.io/port" "9090" "prometheus.io/path" "/metrics") $own -}}
{{- end -}}
{{- with merge dict .pod.podAnnotations $own .root.Values.commonAnnotations }}
annotations: {{- toYaml . | nindent 2 }}
{{- end }}
{{- end -}}

{{/* Fields of a pod but for its containers and volumes: dict "root" $ "pod" map "account" string, and "token" true where it needs one */}}
{{- define "galleon.podSpec" -}}
serviceAccountName: {{ .account | quote }}
automountServiceAccountToken: {{ .token | default false }}
enableServiceLinks: false
securityContext: {{- include "galleon.given" .pod.podSecurityContext | nindent 2 }}
{{- include "galleon.pullSecrets" .root }}
{{- range $key := list "nodeSelector" "tolerations" "affinity" "topologySpreadConstraints" "hostAliases" "dnsConfig" "initContainers" }}
{{- with get $.pod $key }}
{{ $key }}: {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}
{{- range $key := list "priorityClassName" "runtimeClassName" "schedulerName" "dnsPolicy" }}
{{- with get $.pod $key }}
{{ $key }}: {{ . | quote }}
{{- end }}
{{- end }}
{{- end -}}

{{/* Fields of the chart's container: dict "root" $ "pod" map "image" string "resources" map, and "env" list */}}
{{- define "galleon.container" -}}
image: {{ include "galleon.image" . | quote }}
imagePullPolicy: {{ .root.Values.image.pullPolicy }}
securityContext: {{- include "galleon.given" .pod.securityContext | nindent 2 }}
resources: {{- include "galleon.resources" .resources | nindent 2 }}
{{- with concat (.env | default list) .pod.extraEnv }}
env: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .pod.extraEnvFrom }}
envFrom: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .pod.lifecycle }}
lifecycle: {{- toYaml . | nindent 2 }}
{{- end }}
{{- end -}}

{{/* A request of memory that is not given is as the limit, as Kubernetes would have it. */}}
{{- define "galleon.resources" -}}
{{- $requests := .requests | default dict -}}
{{- $limits := .limits | default dict -}}
{{- if and $limits.memory (not $requests.memory) -}}
{{- $requests = merge (dict "memory" $limits.memory) $requests -}}
{{- end -}}
{{- toYaml (merge (dict "requests" $requests "limits" $limits) (omit . "requests" "limits")) -}}
{{- end -}}

{{/* Of a daemon, all on its metrics port: dict "pod" map "defaults" dict of startup, liveness, readiness */}}
{{- define "galleon.probes" -}}
{{- range $kind, $path := dict "startup" "/livez" "liveness" "/livez" "readiness" "/readyz" }}
{{- $ours := merge (dict "httpGet" (dict "path" $path "port" "metrics")) (get $.defaults $kind) }}
{{- $given := get $.pod.probes $kind }}
{{- range list "exec" "tcpSocket" "grpc" }}
{{- if hasKey $given . }}{{- $ours = omit $ours "httpGet" }}{{- end }}
{{- end }}
{{ $kind }}Probe: {{- mustMergeOverwrite $ours $given | toYaml | nindent 2 }}
{{- end }}
{{- end -}}

{{/* How pods are replaced; a way that belongs to another type is left out. */}}
{{- define "galleon.updateStrategy" -}}
{{- eq .type "RollingUpdate" | ternary . (omit . "rollingUpdate") | toYaml -}}
{{- end -}}

{{/* The folder that --tls wants, from a secret of kind kubernetes.io/tls and, if there is one, of a token: dict "root" $ "who" string */}}
{{- define "galleon.tlsVolume" -}}
{{- $keys := list (dict "key" "ca.crt" "path" "ca.pem") (dict "key" "tls.crt" "path" "cert.pem") (dict "key" "tls.key" "path" "key.pem") -}}
name: tls
{{- with get .root.Values.tls.tokens .who }}
projected:
  defaultMode: 0440
  sources:
    - secret: {name: {{ include "galleon.tlsSecret" $ | quote }}, items: {{ toJson $keys }}}
    - secret: {name: {{ . | quote }}, items: [{key: token, path: token}]}
{{- else }}
secret: {secretName: {{ include "galleon.tlsSecret" $ | quote }}, defaultMode: 0440, items: {{ toJson $keys }}}
{{- end }}
{{- end -}}

{{/* The token that who reads /metrics has to show: its volume. */}}
{{- define "galleon.metricsTokenVolume" -}}
{{- with .Values.metrics.token }}
{{- if .existingSecret }}
- name: metrics-token
  secret: {secretName: {{ .existingSecret | quote }}, defaultMode: 0440, items: [{key: {{ .key | quote }}, path: token}]}
{{- end }}
{{- end }}
{{- end -}}

{{/* Volumes of what jobs may read: dict "root" $ and, where they are mounted to be written too, "writable" true */}}
{{- define "galleon.inputVolumes" -}}
{{- range .root.Values.storage.inputs }}
- name: {{ .name | quote }}
  {{- if .existingClaim }}
  persistentVolumeClaim: {claimName: {{ .existingClaim | quote }}{{ if not $.writable }}, readOnly: true{{ end }}}
  {{- else if .hostPath }}
  hostPath: {path: {{ .hostPath | quote }}, type: Directory}
  {{- else }}
  {{- toYaml .volume | nindent 2 }}
  {{- end }}
{{- end }}
{{- end -}}

{{/* Where they are mounted, as a sentence has it. */}}
{{- define "galleon.inputPaths" -}}
{{- range $i, $input := .Values.storage.inputs }}{{ if $i }}, {{ end }}{{ $input.mountPath }}{{ else }}a mounted input (storage.inputs is empty: jobs can read nothing yet){{ end -}}
{{- end -}}

{{/* Where jobs' folders lie. */}}
{{- define "galleon.jobsMount" -}}
name: jobs
mountPath: {{ .Values.storage.jobs.mountPath | quote }}
{{- with .Values.storage.jobs.subPath }}
subPath: {{ . | quote }}
{{- end }}
{{- end -}}

{{/* How many pods of a set may be taken away at a time: dict as of galleon.metadata and "budget" map of values */}}
{{- define "galleon.podDisruptionBudget" -}}
{{- if .budget.enabled }}
---
apiVersion: policy/v1
kind: PodDisruptionBudget
metadata: {{- include "galleon.metadata" . | nindent 2 }}
spec:
  maxUnavailable: {{ .budget.maxUnavailable }}
  {{- if semverCompare ">=1.27-0" .root.Capabilities.KubeVersion.Version }}
  unhealthyPodEvictionPolicy: {{ .budget.unhealthyPodEvictionPolicy }}
  {{- end }}
  selector:
    matchLabels: {{- include "galleon.selector" . | nindent 6 }}
{{- end }}
{{- end -}}

{{/* What a container needs for the store of several schedulers: its options, variables, mounts and volumes, each as a list; empty lists for
     SQLite. */}}
{{- define "galleon.store" -}}
{{- $p := .Values.scheduler.store.postgresql -}}
{{- $args := list -}}{{- $env := list -}}{{- $mounts := list -}}{{- $volumes := list -}}
{{- if include "galleon.shared" . -}}
{{- $args = append $args "--store=@/etc/galleon/store/url" -}}
{{- $sources := list (dict "secret" (dict "name" $p.existingSecret "items" (list (dict "key" $p.key "path" "url")))) -}}
{{- with $p.caSecret -}}
{{- $sources = append $sources (dict "secret" (dict "name" . "items" (list (dict "key" $p.caKey "path" "ca.crt")))) -}}
{{- $env = list (dict "name" "PGSSLMODE" "value" "verify-full") (dict "name" "PGSSLROOTCERT" "value" "/etc/galleon/store/ca.crt") -}}
{{- end -}}
{{- $mounts = append $mounts (dict "name" "store" "mountPath" "/etc/galleon/store" "readOnly" true) -}}
{{- $volumes = append $volumes (dict "name" "store" "projected" (dict "defaultMode" 288 "sources" $sources)) -}}
{{- end -}}
{{- dict "args" $args "env" $env "mounts" $mounts "volumes" $volumes | toYaml -}}
{{- end -}}
