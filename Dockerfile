# syntax=docker/dockerfile:1

# Build and run on the same Debian release, so that the C library fits.
FROM rust:1-bookworm AS build
WORKDIR /build
COPY . .
RUN --mount=type=cache,target=/usr/local/cargo/registry,sharing=locked \
    --mount=type=cache,target=/build/target,sharing=locked \
    cargo build --locked --release && cp target/release/chunkgate /chunkgate

FROM debian:bookworm-slim
# Certificates, to trust an identity server.
RUN apt-get update \
    && apt-get install -y --no-install-recommends ca-certificates \
    && rm -rf /var/lib/apt/lists/* \
    && install -d -o 10001 -g 10001 -m 0700 /var/lib/chunkgate
COPY --from=build /chunkgate /usr/local/bin/chunkgate
# All that differs from the defaults. A file of your own mounted over it, CHUNKGATE_CONFIG or CHUNKGATE_SERVER__LISTEN
# replaces it, and `serve` and `health` follow alike: neither is told an address on its command line.
COPY <<TOML /etc/chunkgate/chunkgate.toml
[server]
listen = "0.0.0.0:8080"
TOML
USER 10001:10001
# The defaults are paths below the working folder: everything that is written lies in the volume, and the root file
# system may be read-only.
WORKDIR /var/lib/chunkgate
VOLUME /var/lib/chunkgate
ENV CHUNKGATE_CONFIG=/etc/chunkgate/chunkgate.toml
EXPOSE 8080
HEALTHCHECK --interval=10s --timeout=5s --start-period=20s --retries=3 \
    CMD ["chunkgate", "health"]
# SIGTERM stops it; what runs it must wait longer than server.shutdown_grace before it kills.
STOPSIGNAL SIGTERM
ENTRYPOINT ["chunkgate"]
CMD ["serve"]
