"""gRPC by grpcio on both sides, in clear and over TLS on either."""

import os
import threading
from concurrent import futures

import grpc

from harness.programs import free_port
from harness.story import Story, once
from harness.tls import Authority

# Its own proxies and its own noise are kept out.
os.environ.setdefault("GRPC_VERBOSITY", "NONE")
PATIENCE = 60


class Service(grpc.GenericRpcHandler):
    """Methods on bytes."""

    def __init__(self):
        self.hanging = threading.Semaphore(0)
        self.cancelled = threading.Semaphore(0)
        self.remaining = None

    def service(self, details):
        name = details.method.removeprefix("/story.Echo/")
        kinds = {
            "Unary": grpc.unary_unary_rpc_method_handler(self.unary),
            "Fail": grpc.unary_unary_rpc_method_handler(self.fail),
            "FailLate": grpc.unary_stream_rpc_method_handler(self.fail_late),
            "Count": grpc.unary_stream_rpc_method_handler(self.count),
            "Sum": grpc.stream_unary_rpc_method_handler(self.sum),
            "Chat": grpc.stream_stream_rpc_method_handler(self.chat),
            "Hang": grpc.unary_unary_rpc_method_handler(self.hang),
            "Forever": grpc.unary_stream_rpc_method_handler(self.forever),
        }
        return kinds.get(name)

    def unary(self, message, context):
        given = dict(context.invocation_metadata())
        context.send_initial_metadata([("x-initial", given.get("x-story", "none"))])
        context.set_trailing_metadata([("x-trailing", "seven"), ("x-binary-bin", b"\x00\x01\xff")])
        return message

    def fail(self, _message, context):
        context.set_trailing_metadata([("x-why", "because")])
        context.abort(grpc.StatusCode.NOT_FOUND, "no such thing: \u00e4")

    def fail_late(self, message, context):
        yield message
        context.abort(grpc.StatusCode.DATA_LOSS, "half of it")

    def count(self, message, _context):
        for number in range(int(message)):
            yield b"%d" % number

    def sum(self, messages, _context):
        return b"%d" % sum(int(message) for message in messages)

    def chat(self, messages, _context):
        yield from messages

    def watched(self, context):
        self.remaining = context.time_remaining()
        ended = threading.Event()

        def end():
            ended.set()
            self.cancelled.release()

        assert context.add_callback(end), "it ended before it began"
        self.hanging.release()
        return ended

    def hang(self, message, context):
        self.watched(context).wait(PATIENCE)
        return message

    def forever(self, message, context):
        ended = self.watched(context)
        while not ended.is_set():
            yield message
            ended.wait(0.001)


class Server:
    """A gRPC server in clear and over TLS."""

    def __init__(self, directory):
        self.authority = Authority(directory)
        self.pair = self.authority.issue("grpc", "grpc.test", "127.0.0.1")
        self.service = Service()
        self.server = grpc.server(futures.ThreadPoolExecutor(32), [self.service])
        self.clear = self.server.add_insecure_port("127.0.0.1:0")
        credentials = grpc.ssl_server_credentials([(self.pair.key.read_bytes(), self.pair.certificate.read_bytes())])
        self.secure = self.server.add_secure_port("127.0.0.1:0", credentials)
        self.server.start()

    def stop(self):
        self.server.stop(0)


server = once(Server)


class Grpc(Story):
    def setUp(self):
        super().setUp()
        self.clear, self.secure = f"127.0.0.1:{free_port()}", f"127.0.0.1:{free_port()}"

    def upstream(self, behind):
        if behind == "clear":
            return f'to "127.0.0.1:{server().clear}"; protocol h2c'
        return f'to "https://127.0.0.1:{server().secure}"; tls {{ ca "{server().authority.ca}"; }}'

    def proxied(self, behind, more=""):
        return self.bothways(f"""
upstream grpc {{ {self.upstream(behind)}; }}
site {{
    listen "{self.clear}"
    {more}
    to grpc
}}
site "grpc.test" {{
    listen "{self.secure}"
    redirect-http off
    tls {server().pair.kdl}
    {more}
    to grpc
}}
""", name=f"{behind}.kdl")

    def channel(self, before):
        options = [("grpc.enable_http_proxy", 0), ("grpc.use_local_subchannel_pool", 1)]
        if before == "clear":
            channel = grpc.insecure_channel(self.clear, options)
        else:
            credentials = grpc.ssl_channel_credentials(server().authority.ca.read_bytes())
            options += [("grpc.ssl_target_name_override", "grpc.test"), ("grpc.default_authority", "grpc.test")]
            channel = grpc.secure_channel(self.secure, credentials, options)
        self.addCleanup(channel.close)
        return channel

    def everywhere(self, story):
        """The story in clear and over TLS, on both sides."""
        for behind in ("clear", "tls"):
            proxy = self.proxied(behind)
            for before in ("clear", "tls"):
                with self.subTest(before=before, behind=behind):
                    story(self.channel(before))
            proxy.stop()
            self.clear, self.secure = f"127.0.0.1:{free_port()}", f"127.0.0.1:{free_port()}"

    def test_unary(self):
        def story(channel):
            call = channel.unary_unary("/story.Echo/Unary")
            for message in (b"", b"hello", os.urandom(3 << 20)):
                answer, rpc = call.with_call(message, timeout=PATIENCE, metadata=[("x-story", "told")])
                self.same_bytes(answer, message)
                self.assertEqual(dict(rpc.initial_metadata())["x-initial"], "told")
                trailing = dict(rpc.trailing_metadata())
                self.assertEqual((trailing["x-trailing"], trailing["x-binary-bin"]), ("seven", b"\x00\x01\xff"))
                self.assertEqual(rpc.code(), grpc.StatusCode.OK)
            # More at once than there may be streams.
            many = [call.future(b"%d" % number, timeout=PATIENCE) for number in range(300)]
            self.assertEqual([future.result() for future in many], [b"%d" % number for number in range(300)])

        self.everywhere(story)

    def test_streams(self):
        def story(channel):
            counted = list(channel.unary_stream("/story.Echo/Count")(b"1000", timeout=PATIENCE))
            self.assertEqual(counted, [b"%d" % number for number in range(1000)])
            total = channel.stream_unary("/story.Echo/Sum")((b"%d" % n for n in range(1000)), timeout=PATIENCE)
            self.assertEqual(total, b"499500")
            # Each answer is read before the next message is sent: nothing may wait for more.
            said, heard = [os.urandom(size) for size in (1, 100, 100_000, 0, 7)], []
            turn = threading.Semaphore(1)

            def say():
                for message in said:
                    turn.acquire(timeout=PATIENCE)
                    yield message

            for message in channel.stream_stream("/story.Echo/Chat")(say(), timeout=PATIENCE):
                heard.append(message)
                turn.release()
            self.assertEqual(heard, said)

        self.everywhere(story)

    def test_errors(self):
        def story(channel):
            with self.assertRaises(grpc.RpcError) as failed:
                channel.unary_unary("/story.Echo/Fail")(b"x", timeout=PATIENCE)
            error = failed.exception
            self.assertEqual((error.code(), error.details()), (grpc.StatusCode.NOT_FOUND, "no such thing: \u00e4"))
            self.assertEqual(dict(error.trailing_metadata())["x-why"], "because")
            with self.assertRaises(grpc.RpcError) as failed:
                channel.unary_unary("/story.Echo/None")(b"x", timeout=PATIENCE)
            self.assertEqual(failed.exception.code(), grpc.StatusCode.UNIMPLEMENTED)
            late = channel.unary_stream("/story.Echo/FailLate")(b"x", timeout=PATIENCE)
            self.assertEqual(next(late), b"x")
            with self.assertRaises(grpc.RpcError) as failed:
                next(late)
            self.assertEqual((failed.exception.code(), failed.exception.details()),
                             (grpc.StatusCode.DATA_LOSS, "half of it"))

        self.everywhere(story)

    def test_deadlines_and_cancellation_reach_the_server(self):
        service = server().service

        def story(channel):
            with self.assertRaises(grpc.RpcError) as failed:
                channel.unary_unary("/story.Echo/Hang")(b"x", timeout=0.5)
            self.assertEqual(failed.exception.code(), grpc.StatusCode.DEADLINE_EXCEEDED)
            self.assertTrue(service.hanging.acquire(timeout=20))
            self.assertTrue(0 < service.remaining <= 0.6, service.remaining)
            self.assertTrue(service.cancelled.acquire(timeout=20), "the server knows of the deadline")
            # Without a deadline, only the client's word can end it.
            call = channel.unary_unary("/story.Echo/Hang").future(b"x")
            self.assertTrue(service.hanging.acquire(timeout=20))
            call.cancel()
            self.assertTrue(service.cancelled.acquire(timeout=20), "the server knows that nobody waits")
            stream = channel.unary_stream("/story.Echo/Forever")(b"x")
            self.assertTrue(service.hanging.acquire(timeout=20))
            self.assertEqual([next(stream) for _ in range(10)], [b"x"] * 10)
            stream.cancel()
            self.assertTrue(service.cancelled.acquire(timeout=20), "a stream ends, too")
            # The connection is as good as before.
            self.assertEqual(channel.unary_unary("/story.Echo/Unary")(b"y", timeout=PATIENCE), b"y")

        self.everywhere(story)

    def test_a_server_that_is_not_there(self):
        self.bothways(f"""
upstream grpc {{ to "127.0.0.1:{free_port()}"; protocol h2c; }}
site {{ listen "{self.clear}"; to grpc; }}
""")
        with self.assertRaises(grpc.RpcError) as failed:
            self.channel("clear").unary_unary("/story.Echo/Unary")(b"x", timeout=PATIENCE)
        self.assertEqual(failed.exception.code(), grpc.StatusCode.UNAVAILABLE)
