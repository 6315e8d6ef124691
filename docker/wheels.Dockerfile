# The builder where there is no network: the base image with the wheels of build/wheels (`make wheels`), which pip then takes.
ARG BASE=python:3.11-slim
FROM ${BASE}
COPY . /wheels
ENV PIP_NO_INDEX=1 PIP_FIND_LINKS=/wheels
