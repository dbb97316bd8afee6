-- Sends the requests of a file, one after the other, over and over: each line is
-- a path to GET, or with a second argument the body of a POST to that path.
-- All servers get the same sequence, so its own cost is the same for all.
local requests, count, at = {}, 0, 0

function init(args)
  local seen = {}
  for line in io.lines(args[1]) do
    local request = seen[line]
    if not request then
      if args[2] then
        request = wrk.format("POST", args[2], {["Content-Type"] = "application/json"}, line)
      else
        request = wrk.format("GET", line)
      end
      seen[line] = request
    end
    count = count + 1
    requests[count] = request
  end
end

function request()
  at = at + 1
  if at > count then at = 1 end
  return requests[at]
end

function done(summary, latency)
  local e = summary.errors
  io.write(string.format(
    '\nresult {"requests":%d,"microseconds":%d,"p50":%d,"p99":%d,"bytes":%d,"errors":%d}\n',
    summary.requests, summary.duration, latency:percentile(50), latency:percentile(99),
    summary.bytes, e.connect + e.read + e.write + e.status + e.timeout))
end
