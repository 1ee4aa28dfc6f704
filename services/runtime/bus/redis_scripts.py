"""What Redis does for the bus in one step each: Lua scripts, so that a message is routed and stored, or settled and
deleted, altogether or not at all (docs/decisions/0013-redis-routes-by-itself.md). What they are made of, and what they
keep where, is in ``redis_lua``.
"""

from typing import Final

from services.runtime.bus.redis_lua import HANDING, NAMES, QUEUES, ROUTING, SESSIONS

# A Redis that is full refuses scripts that write, but not these: without them nobody could take from it and empty it.
# Only publishing is refused then.
ALSO_WHEN_FULL: Final = "#!lua flags=allow-oom\n"

# ARGV: session, time to live, a new epoch, pause, absence (ms). Returns: the epoch, sessions ended, unburied.
HELLO: Final = f"""{ALSO_WHEN_FULL}{NAMES}{ROUTING}{QUEUES}{HANDING}{SESSIONS}
local session, ttl = ARGV[1], tonumber(ARGV[2])
redis.call('SET', P .. 'epoch', ARGV[3], 'NX')
redis.call('HSET', P .. 'session:' .. session, 'ttl', ttl)
live_on(session, ttl)
local ended, unburied = look_after(tonumber(ARGV[4]), tonumber(ARGV[5]))
return {{redis.call('GET', P .. 'epoch'), ended, unburied}}
"""

# ARGV: session, time to live, pause, absence (ms). Returns: whether it is known and hears, sessions ended, unburied.
BEAT: Final = f"""{ALSO_WHEN_FULL}{NAMES}{ROUTING}{QUEUES}{HANDING}{SESSIONS}
local session = ARGV[1]
local known = redis.call('ZSCORE', P .. 'sessions', session)
if known then live_on(session, tonumber(ARGV[2])) end
local ended, unburied = look_after(tonumber(ARGV[3]), tonumber(ARGV[4]))
local hears = redis.call('PUBSUB', 'NUMSUB', P .. 'wake:' .. session)[2]
return {{(known and hears > 0) and 1 or 0, ended, unburied}}
"""

# ARGV: session. Returns: unburied.
END: Final = f"{ALSO_WHEN_FULL}{NAMES}{ROUTING}{QUEUES}{HANDING}{SESSIONS}\nreturn end_session(ARGV[1])"

# ARGV: session, queue, its settings, then exchange and pattern of each binding. Returns: what is wrong, or nothing.
DECLARE: Final = f"""{ALSO_WHEN_FULL}{NAMES}{ROUTING}{QUEUES}
local session, queue, text = ARGV[1], ARGV[2], ARGV[3]
local owner = redis.call('HGET', P .. 'owners', queue)
if owner and owner ~= session then
  local hears = redis.call('PUBSUB', 'NUMSUB', P .. 'wake:' .. owner)[2] > 0
  if hears then return 'it belongs to another connection' end
  delete_queue(queue)
end
local known = redis.call('HGET', P .. 'queues', queue)
if known and known ~= text then
  return 'it exists with kind, delivery limit and dead-letter address ' .. table.concat(split(known), ', ')
end
if not exists(queue) then
  redis.call('XGROUP', 'CREATE', P .. 'queue:' .. queue, GROUP, '0', 'MKSTREAM')
end
redis.call('HSET', P .. 'queues', queue, text)
if split(text)[1] == 'broadcast' then redis.call('HSET', P .. 'owners', queue, session) end
for i = 4, #ARGV, 2 do
  if redis.call('SADD', P .. 'bindings:' .. ARGV[i], ARGV[i + 1] .. '\\0' .. queue) == 1 then
    redis.call('SADD', P .. 'bound:' .. queue, ARGV[i] .. '\\0' .. ARGV[i + 1])
    reroute(ARGV[i], ARGV[i + 1])
  end
end
for _, grave in ipairs(redis.call('SMEMBERS', P .. 'unburied')) do
  local left, spec = 0, settings(grave)
  for _, entry in ipairs(pending_of(grave, UNBURIED)) do left = left + bury(grave, spec, entry[1]) end
  if left == 0 then redis.call('SREM', P .. 'unburied', grave) end
end
return ''
"""

# ARGV: queue, consumer. Returns: the ids it has in hand.
JOIN: Final = f"""{ALSO_WHEN_FULL}{NAMES}
local queue, consumer = ARGV[1], ARGV[2]
if not exists(queue) then return {{}} end
redis.call('HSET', P .. 'session:' .. session_of(consumer), consumer, queue)
local consumers, ids = P .. 'consumers:' .. queue, {{}}
if not redis.call('LPOS', consumers, consumer) then redis.call('RPUSH', consumers, consumer) end
for _, entry in ipairs(pending_of(queue, consumer)) do ids[#ids + 1] = entry[1] end
return ids
"""

# ARGV: queue, consumer. One that holds nothing any more is forgotten altogether.
LEAVE: Final = f"""{ALSO_WHEN_FULL}{NAMES}{ROUTING}{QUEUES}{HANDING}{SESSIONS}
local queue, consumer = ARGV[1], ARGV[2]
leave(queue, consumer)
if not exists(queue) or #pending_of(queue, consumer) == 0 then retire(queue, consumer) end
"""

# ARGV: queue, consumer. One that takes from it takes its place at the end; one that has left meanwhile stays away.
STEP_BACK: Final = f"""{ALSO_WHEN_FULL}{NAMES}{ROUTING}{QUEUES}
local queue, consumer = ARGV[1], ARGV[2]
local consumers = P .. 'consumers:' .. queue
if redis.call('LREM', consumers, 0, consumer) == 0 then return end
redis.call('ZREM', P .. 'waiting:' .. queue, consumer)
redis.call('RPUSH', consumers, consumer)
rouse(redis.call('LINDEX', consumers, 0))
"""

# ARGV: then, for each message, exchange, key, meta, body. Returns: for each, how many queues took it.
PUBLISH: Final = f"""{NAMES}{ROUTING}{QUEUES}
local reached, filled = {{}}, {{}}
for i = 1, #ARGV, 4 do
  local targets = route(ARGV[i], ARGV[i + 1])
  for _, queue in ipairs(targets) do
    put(queue, ARGV[i + 2], ARGV[i], ARGV[i + 1], '', ARGV[i + 3])
    filled[queue] = (filled[queue] or 0) + 1
  end
  reached[#reached + 1] = #targets
end
for queue, count in pairs(filled) do wake(queue, count) end
return reached
"""

# ARGV: queue, consumer, how many it has room for, then the ids of what it has done.
# Returns: 0 (there is no more), 1 (there may be), -1 (it does not count as one that takes) or -2 (there is no such
# queue), then for each message its id, how often it was delivered before, exchange, key, where it died and its meta,
# with a NUL byte between them, and its body.
NEXT: Final = f"""{ALSO_WHEN_FULL}{NAMES}{HANDING}
local queue, consumer, room = ARGV[1], ARGV[2], tonumber(ARGV[3])
local stream, waiting, consumers = P .. 'queue:' .. queue, P .. 'waiting:' .. queue, P .. 'consumers:' .. queue
if #ARGV > 3 then
  redis.call('XACK', stream, GROUP, unpack(ARGV, 4))
  redis.call('XDEL', stream, unpack(ARGV, 4))
end
if room == 0 then
  redis.call('ZREM', waiting, consumer)
  return {{0}}
end
local spec = settings(queue)
if not spec then return {{-2}} end
if not redis.call('LPOS', consumers, consumer) then return {{-1}} end
if spec.kind == 'single' and redis.call('LINDEX', consumers, 0) ~= consumer then return {{0}} end

-- Others who take from it shall have their share, as if messages were dealt out in turn.
local share = room
local rivals = redis.call('LLEN', consumers)
if spec.kind == 'work' and rivals > 1 and room > 1 then
  share = math.max(1, math.min(room, math.ceil(backlog(queue) / rivals)))
end
local out, got = {{0}}, 0
local returned = redis.call('XPENDING', stream, GROUP, '-', '+', share, RETURNED)
for _, entry in ipairs(returned) do got = got + hand(out, claim(stream, consumer, entry[1]), entry[4]) end
if got < share then
  local fresh = redis.call('XREADGROUP', 'GROUP', GROUP, consumer, 'COUNT', share - got, 'STREAMS', stream, '>')
  for _, entry in ipairs(fresh and fresh[1][2] or {{}}) do got = got + hand(out, entry, 0) end
end
if got == room then
  redis.call('ZREM', waiting, consumer)
elseif got == share then
  out[1] = 1
else
  redis.call('ZADD', waiting, 'NX', now(), consumer)
end
return out
"""

# ARGV: queue, consumer, then ids. Those that it does not have in hand are left alone. Returns: unburied.
RETRY: Final = f"""{ALSO_WHEN_FULL}{NAMES}{ROUTING}{QUEUES}
local queue, consumer, entries = ARGV[1], ARGV[2], {{}}
if not exists(queue) then return 0 end
for i = 3, #ARGV do
  entries[#entries + 1] = redis.call('XPENDING', P .. 'queue:' .. queue, GROUP, ARGV[i], ARGV[i], 1, consumer)[1]
end
return give_back(queue, entries)
"""

# ARGV: queue, consumer. Takes a queue off its exchanges; the consumer is to have what is left in it.
UNBIND: Final = f"""{ALSO_WHEN_FULL}{NAMES}{ROUTING}
local queue, consumer = ARGV[1], ARGV[2]
unbind(queue)
redis.call('HSET', P .. 'session:' .. session_of(consumer), consumer, queue)
"""

# ARGV: queue, consumer, then the id of what it has done. Takes the oldest message, whoever has it in hand, and deletes
# the queue when there is none. Returns: the message as NEXT does, or nothing.
EMPTY: Final = f"""{ALSO_WHEN_FULL}{NAMES}{ROUTING}{QUEUES}{HANDING}{SESSIONS}
local queue, consumer = ARGV[1], ARGV[2]
local stream, out = P .. 'queue:' .. queue, {{}}
if exists(queue) then
  if ARGV[3] then forget(queue, ARGV[3]) end
  local entry = redis.call('XPENDING', stream, GROUP, '-', '+', 1)[1]
  while entry and hand(out, claim(stream, consumer, entry[1]), entry[4]) == 0 do
    entry = redis.call('XPENDING', stream, GROUP, '-', '+', 1)[1]
  end
  if not entry then
    local fresh = redis.call('XREADGROUP', 'GROUP', GROUP, consumer, 'COUNT', 1, 'STREAMS', stream, '>')
    if fresh then hand(out, fresh[1][2][1], 0) end
  end
end
if #out == 0 then
  delete_queue(queue)
  retire(queue, consumer)
end
return out
"""

# ARGV: session, then queues. Returns: for each, how many messages wait, how many somebody has in hand, and how many
# take from it (of a queue with a single active consumer, only that one); nothing for one that does not exist, or
# belongs to another session.
MEASURE: Final = f"""{ALSO_WHEN_FULL}{NAMES}{HANDING}
local session, told = ARGV[1], {{}}
for i = 2, #ARGV do
  local queue, figures = ARGV[i], {{}}
  local owner = redis.call('HGET', P .. 'owners', queue)
  if exists(queue) and settings(queue) and (not owner or owner == session) then
    local waiting, in_hand = census(queue)
    local consumers = redis.call('LLEN', P .. 'consumers:' .. queue)
    if settings(queue).kind == 'single' then consumers = math.min(1, consumers) end
    figures = {{waiting, in_hand, consumers}}
  end
  told[#told + 1] = figures
end
return told
"""

ALL: Final = (HELLO, BEAT, END, DECLARE, JOIN, LEAVE, STEP_BACK, PUBLISH, NEXT, RETRY, UNBIND, EMPTY, MEASURE)
