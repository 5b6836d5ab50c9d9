{{/* Names, labels and images. */}}

{{- define "galleon.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride -}}
{{- else if contains .Chart.Name .Release.Name -}}
{{- .Release.Name | trunc 40 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name .Chart.Name | trunc 40 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{/* What selects pods: dict "root" $ and, if they matter, "component" and "group". Never changed by values: selectors cannot be. */}}
{{- define "galleon.selector" -}}
{{- $labels := dict "app.kubernetes.io/name" "galleon" "app.kubernetes.io/instance" .root.Release.Name -}}
{{- range $key, $label := dict "component" "app.kubernetes.io/component" "group" "galleon.io/group" -}}
{{- with get $ $key -}}{{- $_ := set $labels $label . -}}{{- end -}}
{{- end -}}
{{- toYaml $labels -}}
{{- end -}}

{{/* name, labels and annotations of an object: dict "root" $ "name" string, and if it has some "component", "group", "labels", "annotations", "namespace". */}}
{{- define "galleon.metadata" -}}
name: {{ .name | quote }}
{{- with .namespace }}
namespace: {{ . | quote }}
{{- end }}
{{- $own := dict "app.kubernetes.io/version" .root.Chart.AppVersion "app.kubernetes.io/managed-by" .root.Release.Service "helm.sh/chart" (printf "%s-%s" .root.Chart.Name .root.Chart.Version) }}
labels: {{- merge (include "galleon.selector" . | fromYaml) $own (.labels | default dict) .root.Values.commonLabels | toYaml | nindent 2 }}
{{- with merge dict (.annotations | default dict) .root.Values.commonAnnotations }}
annotations: {{- toYaml . | nindent 2 }}
{{- end }}
{{- end -}}

{{/* The same of an object that comes before everything else at an installation: dict as above and "weight" string. */}}
{{- define "galleon.hookMetadata" -}}
{{- $hook := dict "helm.sh/hook" (.hook | default "pre-install,pre-upgrade") "helm.sh/hook-weight" .weight "helm.sh/hook-delete-policy" "before-hook-creation,hook-succeeded" -}}
{{- include "galleon.metadata" (merge (dict "annotations" $hook) .) -}}
{{- end -}}

{{/* dict "root" $ "image" REPOSITORY[:TAG][@DIGEST]; a port of the registry is no tag. */}}
{{- define "galleon.image" -}}
{{- $registry := .root.Values.image.registry -}}
{{- with .root.Values.global.imageRegistry -}}
{{- $registry = $registry | default (printf "%s/" (trimSuffix "/" .)) -}}
{{- end -}}
{{- if contains ":" (base .image) -}}
{{- printf "%s%s" $registry .image -}}
{{- else -}}
{{- printf "%s%s:%s" $registry .image (.root.Values.image.tag | default .root.Chart.AppVersion) -}}
{{- end -}}
{{- end -}}

{{- define "galleon.pullSecrets" -}}
{{- $names := .Values.image.pullSecrets -}}
{{- range .Values.global.imagePullSecrets -}}
{{- $names = append $names (kindIs "map" . | ternary (get (kindIs "map" . | ternary . dict) "name") .) -}}
{{- end -}}
{{- with uniq $names }}
imagePullSecrets:
{{- range . }}
  - {name: {{ . | quote }}}
{{- end }}
{{- end }}
{{- end -}}

{{/* dict "root" $ "class" string: "" is the cluster's default, - none. */}}
{{- define "galleon.storageClass" -}}
{{- with .class | default .root.Values.global.storageClass }}
storageClassName: {{ eq . "-" | ternary "" . | quote }}
{{- end }}
{{- end -}}

{{/* dict "root" $ "who" scheduler|worker|admin */}}
{{- define "galleon.tlsSecret" -}}
{{- index .root.Values.tls.secrets .who | default (printf "%s-%s-tls" (include "galleon.fullname" .root) .who) -}}
{{- end -}}

{{/* Whether the store is one that several schedulers share: true or nothing. */}}
{{- define "galleon.shared" -}}
{{- if .Values.scheduler.store.postgresql.existingSecret -}}true{{- end -}}
{{- end -}}

{{/* The service that the scheduler's StatefulSet names its pods by; never changed while it is there. */}}
{{- define "galleon.schedulerService" -}}
{{ include "galleon.fullname" . }}-scheduler{{ if include "galleon.shared" . }}s{{ end }}
{{- end -}}

{{/* The pods' own domain. */}}
{{- define "galleon.schedulers" -}}
{{ include "galleon.fullname" . }}-schedulers.{{ .Release.Namespace }}.svc
{{- end -}}

{{/* Where the scheduler is called. Of several at least three are named, so that their number may change without a restart of those who
     call them. */}}
{{- define "galleon.server" -}}
{{- $full := include "galleon.fullname" . -}}
{{- if include "galleon.shared" . -}}
{{- $servers := list -}}
{{- range $i := until (max 3 (int .Values.scheduler.replicas) | int) -}}
{{- $servers = append $servers (printf "%s-scheduler-%d.%s:7070" $full $i (include "galleon.schedulers" $)) -}}
{{- end -}}
{{- join "," $servers -}}
{{- else -}}
{{ $full }}-scheduler.{{ .Release.Namespace }}.svc:7070
{{- end -}}
{{- end -}}

{{/* By which the scheduler is reached, as a list. */}}
{{- define "galleon.hosts" -}}
{{- $name := printf "%s-scheduler" (include "galleon.fullname" .) -}}
{{- $inside := printf "%s.%s" $name .Release.Namespace -}}
{{- /* Of several schedulers too, so that one becomes several without a new certificate. */ -}}
{{- $each := printf "*.%s" (include "galleon.schedulers" .) -}}
{{- concat (list $name $inside (printf "%s.svc" $inside) (printf "%s.svc.%s" $inside .Values.clusterDomain) $each (printf "%s.%s" $each .Values.clusterDomain)) .Values.tls.hosts | uniq | toYaml -}}
{{- end -}}

{{- define "galleon.jobsClaim" -}}
{{- .Values.storage.jobs.existingClaim | default (printf "%s-jobs" (include "galleon.fullname" .)) -}}
{{- end -}}

{{- define "galleon.journalClaim" -}}
{{- .Values.scheduler.persistence.existingClaim | default (printf "%s-journal" (include "galleon.fullname" .)) -}}
{{- end -}}

{{- define "galleon.backupClaim" -}}
{{- .Values.backup.existingClaim | default (printf "%s-backup" (include "galleon.fullname" .)) -}}
{{- end -}}

{{/* Of a pod: dict "root" $ "account" map of values "name" its own name */}}
{{- define "galleon.account" -}}
{{- if .account.create -}}{{- .account.name | default .name -}}{{- else -}}{{- .account.name -}}{{- end -}}
{{- end -}}

{{/* Address families of a service. */}}
{{- define "galleon.families" -}}
{{- with .Values.scheduler.service.ipFamilyPolicy }}
ipFamilyPolicy: {{ . }}
{{- end }}
{{- with .Values.scheduler.service.ipFamilies }}
ipFamilies: {{ toJson . }}
{{- end }}
{{- end -}}

{{/* Whether jobs' folders can be mounted on one node alone: true or nothing. Of another's claim that is not known. */}}
{{- define "galleon.oneNode" -}}
{{- with .Values.storage.jobs -}}{{- if and (eq .accessMode "ReadWriteOnce") (not .existingClaim) -}}true{{- end -}}{{- end -}}
{{- end -}}
