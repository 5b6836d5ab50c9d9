# syntax=docker/dockerfile:1
# The worker for NVIDIA GPUs, of the same version as the scheduler's image:
#   docker build -f deploy/images/cuda.Dockerfile -t galleon/worker-cuda:0.1.0 .
# It holds the programs of the CUDA build, without its test suites (programs.sh), on top of CUDA's own libraries; the driver comes from the host.
ARG BASE=nvidia/cuda:13.0.1-devel-ubuntu24.04
ARG RUNTIME=nvidia/cuda:13.0.1-runtime-ubuntu24.04

FROM ${BASE} AS build
WORKDIR /src
COPY deploy/packages.sh deploy/packages.sh
RUN deploy/packages.sh test && apt-get install -y --no-install-recommends file xz-utils
COPY . .
# For all architectures that the preset names, unless told otherwise.
ARG ARCHITECTURES=80;86;89;90;100;120
RUN cmake --preset cuda "-DGALLEON_CUDA_ARCHITECTURES=${ARCHITECTURES}" && cmake --build build-cuda --target bundle && \
    sh deploy/images/programs.sh build-cuda/bundle/galleon-cuda /programs

# The bundle alone, with the GPU suite, for --output.
FROM scratch AS bundle
COPY --from=build /src/build-cuda/bundle/galleon-cuda.tar.xz /

FROM ${RUNTIME} AS worker
COPY --from=build /programs /opt/galleon
COPY deploy/images/health /usr/lib/galleon/health
RUN groupadd --gid 10001 galleon && useradd --uid 10001 --gid 10001 --no-create-home --home-dir /nonexistent --shell /usr/sbin/nologin galleon && \
    install -d -o 10001 -g 0 -m 0775 /var/lib/galleon /srv/galleon /srv/galleon/jobs /srv/galleon/data && \
    find / -xdev -type f -perm /6000 -exec chmod ug-s {} +
ENV PATH=/opt/galleon/bin:/usr/local/bin:/usr/bin:/bin GALLEON_METRICS_PORT=9090 NVIDIA_DRIVER_CAPABILITIES=compute,utility
USER 10001:10001
WORKDIR /srv/galleon
STOPSIGNAL SIGTERM
VOLUME ["/var/lib/galleon", "/srv/galleon/jobs"]
EXPOSE 9090
HEALTHCHECK --interval=5s --timeout=5s --start-period=5m --retries=12 CMD ["/usr/lib/galleon/health"]
# What an image says of itself; a release gives the last three.
ARG VERSION=0.1.0
ARG REVISION=unknown
ARG SOURCE=unknown
LABEL org.opencontainers.image.title="Galleon" \
      org.opencontainers.image.description="A training service for language models: worker and trainer for NVIDIA GPUs" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}" \
      org.opencontainers.image.source="${SOURCE}"
ENTRYPOINT ["galleon-worker"]
