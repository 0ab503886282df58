# Todus in a container:
#
#   docker build -t todus .
#   docker run --rm -it -u "$(id -u):$(id -g)" -v "$PWD:/data" todus
#
# Its TODUS_HOME is /data, so dataset/ and model/ are in the folder that is mounted there.
FROM debian:12

RUN apt-get update && \
    apt-get install -y --no-install-recommends bash ca-certificates make python3 python3-venv && \
    rm -rf /var/lib/apt/lists/*

COPY . /todus
WORKDIR /todus

# Any user may run it, and make takes its locks.
RUN make install && make slice && chmod a+rw .venv.lock .slice.lock && mkdir -m 1777 /data

ENV HOME=/tmp TODUS_HOME=/data
CMD ["bash"]
