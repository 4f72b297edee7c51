"""An HTTP/2 client that says exactly what it means, for what curl does not do."""

import socket

import h2.config
import h2.connection
import h2.events
import h2.settings

from .programs import PATIENCE


class Http2:
    """A connection; streams are told apart by their numbers.

    Without a `context` it is in clear, by prior knowledge.
    """

    def __init__(self, at, context=None, name=None):
        host, _, port = at.rpartition(":")
        self.socket = socket.create_connection((host, int(port)), timeout=PATIENCE)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if context is not None:
            self.socket = context.wrap_socket(self.socket, server_hostname=name or host)
            assert self.socket.selected_alpn_protocol() == "h2", self.socket.selected_alpn_protocol()
        self.scheme = "http" if context is None else "https"
        self.h2 = h2.connection.H2Connection(h2.config.H2Configuration(header_encoding="utf-8"))
        self.h2.initiate_connection()
        self.events, self.unread = [], b""
        self.terminated = self.ended = False
        self.flush()

    def flush(self):
        self.socket.sendall(self.h2.data_to_send())

    def start(self, fields, end=True):
        """A request of these fields in their order, pseudo-fields included."""
        number = self.h2.get_next_available_stream_id()
        self.h2.send_headers(number, fields, end_stream=end)
        self.flush()
        return number

    def request(self, authority, path="/", method="GET", end=True, fields=()):
        pseudo = [(":method", method), (":scheme", self.scheme), (":authority", authority), (":path", path)]
        return self.start([*pseudo, *fields], end)

    def tunnel(self, authority, fields=()):
        return self.start([(":method", "CONNECT"), (":authority", authority), *fields], end=False)

    def websocket(self, authority, path="/"):
        """Extended CONNECT (RFC 8441); the server must have offered it."""
        self.wait(lambda e: isinstance(e, h2.events.RemoteSettingsChanged))
        offered = self.h2.remote_settings.get(h2.settings.SettingCodes.ENABLE_CONNECT_PROTOCOL)
        assert offered == 1, self.h2.remote_settings
        return self.start([
            (":method", "CONNECT"), (":protocol", "websocket"), (":scheme", self.scheme),
            (":path", path), (":authority", authority), ("sec-websocket-version", "13"),
        ], end=False)

    def send(self, number, data=b"", end=False):
        """Sends within the windows that there are."""
        while len(data) > 0:
            room = min(self.h2.local_flow_control_window(number), self.h2.max_outbound_frame_size)
            if room == 0:
                self.receive()
                continue
            self.h2.send_data(number, data[:room])
            data = data[room:]
            self.flush()
        if end:
            self.h2.end_stream(number)
            self.flush()

    def reset(self, number, code=8):
        self.h2.reset_stream(number, code)
        self.flush()

    def receive(self):
        """Whatever comes next; whether anything did."""
        data = self.socket.recv(65536)
        if not data:
            self.ended = True
            return False
        self.unread += data
        # By the frame: the library takes nothing after GOAWAY, though streams may still be under way.
        while not self.terminated and len(self.unread) >= (size := 9 + int.from_bytes(self.unread[:3], "big")):
            frame, self.unread = self.unread[:size], self.unread[size:]
            for event in self.h2.receive_data(frame):
                self.take(event)
        if not self.terminated:
            self.flush()
        return True

    def take(self, event):
        if isinstance(event, h2.events.DataReceived) and event.flow_controlled_length:
            self.h2.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
        self.terminated |= isinstance(event, h2.events.ConnectionTerminated)
        self.events.append(event)

    def wait(self, wanted):
        """The first event that is wanted, which is then forgotten."""
        while True:
            for index, event in enumerate(self.events):
                if wanted(event):
                    return self.events.pop(index)
            if not self.receive():
                raise AssertionError(f"the connection ended after {self.events}")

    def of(self, number, *kinds):
        """The next event of these kinds on a stream."""
        return self.wait(lambda e: isinstance(e, kinds) and e.stream_id == number)

    def head(self, number):
        """The fields of the response."""
        event = self.of(number, h2.events.ResponseReceived, h2.events.StreamReset)
        assert isinstance(event, h2.events.ResponseReceived), event
        return dict(event.headers)

    def data(self, number, length):
        """So many bytes of the body."""
        data = b""
        while len(data) < length:
            event = self.of(number, h2.events.DataReceived, h2.events.StreamEnded, h2.events.StreamReset)
            assert isinstance(event, h2.events.DataReceived), (event, data)
            data += event.data
        return data

    def body(self, number):
        """All of the body."""
        data = b""
        while True:
            event = self.of(number, h2.events.DataReceived, h2.events.StreamEnded, h2.events.StreamReset)
            if isinstance(event, h2.events.StreamEnded):
                return data
            assert isinstance(event, h2.events.DataReceived), (event, data)
            data += event.data

    def get(self, authority, path="/", **more):
        """One exchange: status, fields, body."""
        number = self.request(authority, path, **more)
        fields = self.head(number)
        return int(fields[":status"]), fields, self.body(number)

    def close(self):
        self.socket.close()
