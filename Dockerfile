# syntax=docker/dockerfile:1

# To pin by content as well as by version, append @sha256:… to both images.
FROM rust:1.95.0-slim-bookworm AS build
RUN apt-get update \
 && apt-get install --yes --no-install-recommends cmake g++ make \
 && rm -rf /var/lib/apt/lists/*
WORKDIR /build
COPY . .
RUN --mount=type=cache,target=/usr/local/cargo/registry --mount=type=cache,target=/build/target \
    deploy/release/build \
 && install -D target/dist/ollama-gateway /out/usr/bin/ollama-gateway \
 && install -D -m 0644 LICENSE-MIT LICENSE-APACHE gateway.toml.example -t /out/usr/share/doc/ollama-gateway

FROM debian:12.12-slim
RUN apt-get update \
 && apt-get install --yes --no-install-recommends ca-certificates \
 && rm -rf /var/lib/apt/lists/* \
 && useradd --system --uid 10001 --home-dir /var/lib/ollama-gateway --shell /usr/sbin/nologin ollama-gateway \
 && install --directory --mode 0700 --owner ollama-gateway --group ollama-gateway /var/lib/ollama-gateway
COPY --from=build /out/ /

USER 10001:10001
VOLUME /var/lib/ollama-gateway
# Ports above 1024: no capability is needed. Publish them as 443 and 80.
EXPOSE 8443 8080

# The binary asks its own admin listener; no shell, no curl.
HEALTHCHECK --interval=30s --timeout=5s --start-period=10s --retries=3 \
    CMD ["/usr/bin/ollama-gateway", "health"]
STOPSIGNAL SIGTERM
ENTRYPOINT ["/usr/bin/ollama-gateway"]
CMD ["serve", "--config", "/etc/ollama-gateway/gateway.toml"]

# Run it with nothing to write on but its state, for example:
#   docker run --read-only --cap-drop=ALL --security-opt=no-new-privileges \
#     --volume gateway-state:/var/lib/ollama-gateway \
#     --volume /etc/ollama-gateway:/etc/ollama-gateway:ro \
#     --publish 443:8443 --publish 80:8080 ollama-gateway
