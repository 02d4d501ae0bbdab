# tcp-failure-lab in a container: the programs, and the tools to watch them with. See docs/docker.md.
# A mirror of the base image: docker compose build --build-arg BASE=mirror.example/node:20-bookworm-slim
ARG BASE=node:20-bookworm-slim

FROM ${BASE} AS build
WORKDIR /build
COPY package.json package-lock.json ./
RUN npm ci --no-audit --no-fund
COPY . .
RUN node_modules/.bin/tsc -p tsconfig.build.json \
  && npm prune --omit=dev --no-audit --no-fund \
  && chmod +x dist/cmd/*.js

FROM ${BASE} AS runtime
# tcpdump gets its one capability from its file, so that an ordinary user can capture.
RUN apt-get update \
  && DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends \
    iproute2 libcap2-bin lsof net-tools strace tcpdump \
  && setcap cap_net_raw=ep "$(command -v tcpdump)" \
  && rm -rf /var/lib/apt/lists/*
COPY --from=build /build/package.json /opt/tcp-failure-lab/
COPY --from=build /build/node_modules /opt/tcp-failure-lab/node_modules
COPY --from=build /build/dist /opt/tcp-failure-lab/dist
# The programs by name, and a folder that the user owns: index.js is the client, server.js the server, logs/ a volume.
RUN ln -s /opt/tcp-failure-lab/dist/cmd/lab.js /usr/local/bin/tcp-failure-lab \
  && for name in server client bomb multiplex states trace; do \
    ln -s "/opt/tcp-failure-lab/dist/cmd/$name.js" "/usr/local/bin/tcp-$name"; \
  done \
  && mkdir -p /lab/logs \
  && ln -s /opt/tcp-failure-lab/dist/cmd/client.js /lab/index.js \
  && ln -s /opt/tcp-failure-lab/dist/cmd/server.js /lab/server.js \
  && ln -s logs/syscall.log /lab/syscall.log \
  && chown -R node:node /lab
WORKDIR /lab
USER node
CMD ["node", "index.js"]

# The labs make private networks and break them: `docker compose run --rm lab run fd-leak`. Some of them do it with nft.
FROM runtime AS labs
USER root
RUN apt-get update \
  && DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends nftables \
  && rm -rf /var/lib/apt/lists/*
USER node
ENTRYPOINT ["tcp-failure-lab"]
CMD ["list"]

# What `docker build .` makes.
FROM runtime
