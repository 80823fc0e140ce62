# SPDX-License-Identifier: Apache-2.0
"""A client of the container runtime interface: calls a server as kubelet does."""

import importlib
import subprocess
import sys
from pathlib import Path

import grpc

from harness import Failure, Out


class Client:
    """`client.RunPodSandbox(config=…)`: each call takes its request's fields, and gives the response."""

    def __init__(self, socket, scratch):
        proto = Path(__file__).with_name("cri.proto")
        line = ["protoc", f"--proto_path={proto.parent}", f"--python_out={scratch}", proto]
        subprocess.run(line, check=True)
        if str(scratch) not in sys.path:
            sys.path.insert(0, str(scratch))
        # Once for all servers: a process cannot have the same messages twice.
        self.messages = importlib.import_module("cri_pb2")
        self.channel = grpc.insecure_channel(f"unix:{socket}")

    def __getattr__(self, method):
        request, response = getattr(self.messages, f"{method}Request"), getattr(self.messages, f"{method}Response")
        call = self.channel.unary_unary(
            f"/runtime.v1.RuntimeService/{method}",
            request_serializer=request.SerializeToString,
            response_deserializer=response.FromString,
        )

        def ask(fails=False, seconds=60, **fields):
            shown = f"{method} {fields}"
            try:
                answer = call(request(**fields), timeout=seconds)
            except grpc.RpcError as e:
                refused = Out(shown, 1, "", f"{e.code().name}: {e.details()}")
                if fails:
                    return refused
                raise Failure(str(refused)) from None
            if fails:
                raise Failure(f"should have failed: {shown}: {answer}")
            return answer

        return ask

    def close(self):
        self.channel.close()
