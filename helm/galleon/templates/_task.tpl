{{/* The spec of a pod that asks the scheduler something, and ends: dict "root" $ "name" of the container "command" list, and if it has some
     "mounts", "volumes" and "env" lists. */}}
{{- define "galleon.task" -}}
{{- $pod := include "galleon.podValues" (dict "root" .root "pod" .root.Values.tasks) | fromYaml -}}
{{- $env := list (dict "name" "GALLEON_SERVER" "value" (include "galleon.server" .root)) (dict "name" "GALLEON_TLS" "value" "/etc/galleon/tls") -}}
{{- $env = concat $env (.env | default list) -}}
{{- include "galleon.podSpec" (dict "root" .root "pod" $pod "account" "default") }}
restartPolicy: Never
containers:
  - name: {{ .name }}
    command: {{- toYaml .command | nindent 6 }}
    {{- include "galleon.container" (dict "root" .root "pod" $pod "image" .root.Values.image.scheduler "resources" .root.Values.tasks.resources "env" $env) | nindent 4 }}
    volumeMounts:
      - {name: tls, mountPath: /etc/galleon/tls, readOnly: true}
      {{- with concat (.mounts | default list) $pod.extraVolumeMounts }}
      {{- toYaml . | nindent 6 }}
      {{- end }}
  {{- with $pod.sidecars }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
volumes:
  - {{- include "galleon.tlsVolume" (dict "root" .root "who" "admin") | nindent 4 }}
  {{- with concat (.volumes | default list) $pod.extraVolumes }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
{{- end -}}

{{- define "galleon.taskPodMetadata" -}}
{{- include "galleon.podMetadata" (dict "root" . "pod" (include "galleon.podValues" (dict "root" . "pod" .Values.tasks) | fromYaml) "component" "task") -}}
{{- end -}}
