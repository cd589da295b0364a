# Stands in for redis:7 where no registry is at hand (offline-images.sh); the same user id and commands.
ARG BASE_IMAGE
FROM ${BASE_IMAGE}
RUN groupadd --gid 999 redis && useradd --uid 999 --gid redis --home-dir /data redis \
 && apt-get update && DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends redis-server \
 && rm -rf /var/lib/apt/lists/* \
 && install -d -o redis -g redis -m 0700 /data
WORKDIR /data
USER 999:999
CMD ["redis-server"]
