# Tidelog in a container.
#
#   docker build -t tidelog .
#   docker run -p 1883:1883 -v tidelog-data:/data -v ./passwords:/etc/tidelog/passwords:ro \
#     -e TIDELOG__ACCESS__PASSWORDS=/etc/tidelog/passwords tidelog
#
# Clients from outside of the container need a user name, unless TIDELOG__ACCESS__ANONYMOUS says otherwise. Every key of
# config/tidelog.toml can be set that way.

FROM rust:1.95-bookworm AS build
WORKDIR /source
COPY Cargo.toml Cargo.lock ./
COPY config config
COPY src src
# The manifest names no targets: without their folders there are no tests, benches and examples to build.
RUN cargo build --release --locked --bin tidelog

FROM debian:bookworm-slim
RUN groupadd --system --gid 10001 tidelog \
 && useradd --system --uid 10001 --gid tidelog --home-dir /data --shell /usr/sbin/nologin tidelog \
 && install --directory --owner=tidelog --group=tidelog --mode=0750 /data
COPY --from=build /source/target/release/tidelog /usr/local/bin/tidelog
COPY --from=build /source/config/tidelog.toml /usr/share/doc/tidelog/tidelog.toml
USER tidelog
WORKDIR /data
VOLUME /data
EXPOSE 1883
STOPSIGNAL SIGTERM
# Healthy is who lets a client in over loopback and makes a subscription for it. The second listener is for that: nobody
# outside of the container reaches it, so it does without a user name.
HEALTHCHECK --interval=30s --timeout=5s --start-period=60s --retries=3 \
  CMD ["tidelog", "sub", "-h", "127.0.0.1", "-p", "11883", "-t", "$SYS/broker/uptime", "-E", "-W", "3"]
ENTRYPOINT ["tidelog"]
CMD ["serve", "--listen", "0.0.0.0:1883", "--listen", "127.0.0.1:11883", "--data", "/data"]
