-- One script for all wrk runs: the arguments are the target and more fields, "Name: value" each.
-- `done` prints one line that is easy to read for a program.

function init(arguments)
   wrk.path = arguments[1] or wrk.path
   for index = 2, #arguments do
      local name, value = arguments[index]:match("^([^:]+):%s*(.*)$")
      wrk.headers[name] = value
   end
end

function done(summary, latency, requests)
   local errors = summary.errors
   io.write(string.format(
      "BENCH requests=%d microseconds=%d bytes=%d p50=%d p99=%d connect=%d read=%d write=%d status=%d timeout=%d\n",
      summary.requests, summary.duration, summary.bytes, latency:percentile(50), latency:percentile(99),
      errors.connect, errors.read, errors.write, errors.status, errors.timeout))
end
