"""What the bus keeps in Redis, and the Lua functions that its scripts (``redis_scripts``) are made of.

What is kept, under ``conclave:``:

- ``queues`` (hash): name -> kind, delivery limit, dead-letter exchange and key, with a NUL byte between them;
  ``owners`` (hash): name of a broadcast queue -> session it belongs to.
- ``bindings:EXCHANGE`` (set): pattern NUL queue; ``bound:QUEUE`` (set): exchange NUL pattern, the same seen from the
  queue; ``routes:EXCHANGE`` (hash): routing key -> queues, remembered until a binding changes it.
- ``queue:NAME`` (stream): the messages, with one consumer group. What is in hand is in the group's list of pending
  entries under its consumer; what came back is there under ``-returned``, and a dead letter that no queue takes under
  ``-unburied`` (their queues are in the set ``unburied``). A settled message is deleted.
- ``consumers:NAME`` (list): who takes from it, in the order they came; of a SINGLE queue the first is the active one.
  ``waiting:NAME`` (sorted set): those of them that have room and found nothing.
- ``sessions`` (sorted set): session -> until when it counts as alive (ms); ``session:ID`` (hash): its time to live,
  and consumer -> queue. ``looked`` (string): when somebody last looked after the sessions. ``epoch`` (string): made
  once; another one says that Redis lost what it knew.

A session listens on the channel ``conclave:wake:SESSION``; a message there is the id of the consumer to be woken.
"""

from typing import Final

GROUP: Final = "conclave"
PREFIX: Final = "conclave:"

NAMES: Final = """
local P, GROUP, RETURNED, UNBURIED = 'conclave:', 'conclave', '-returned', '-unburied'
local ALL = 1000000000

local function now()
  local time = redis.call('TIME')
  return time[1] * 1000 + math.floor(time[2] / 1000)
end

local function split(text)
  local parts = {}
  for part in (text .. '\\0'):gmatch('(%Z*)%z') do parts[#parts + 1] = part end
  return parts
end

local function settings(queue)
  local text = redis.call('HGET', P .. 'queues', queue)
  if not text then return nil end
  local parts = split(text)
  return {kind = parts[1], limit = tonumber(parts[2]), exchange = parts[3], key = parts[4]}
end

local function session_of(consumer) return consumer:match('^(.-)%.') end

local function pending_of(queue, consumer)
  return redis.call('XPENDING', P .. 'queue:' .. queue, GROUP, '-', '+', ALL, consumer)
end

local function exists(queue) return redis.call('EXISTS', P .. 'queue:' .. queue) == 1 end
"""

ROUTING: Final = """
local function words(text)
  local found = {}
  if text ~= '' then
    for word in (text .. '.'):gmatch('([^.]*)%.') do found[#found + 1] = word end
  end
  return found
end

-- As services/runtime/bus/topic_routing.py, which has the words to it.
local function matches(pattern, key, key_words)
  if pattern == key or pattern == '#' then return true end
  if not pattern:find('[*#]') then return false end
  local wanted = words(pattern)
  local at, position, resume_at, resume_position = 1, 1, 0, 0
  while position <= #key_words do
    if wanted[at] == '#' then
      resume_at, resume_position = at, position
      at = at + 1
    elseif wanted[at] == '*' or (wanted[at] ~= nil and wanted[at] == key_words[position]) then
      at, position = at + 1, position + 1
    elseif resume_at > 0 then
      resume_position = resume_position + 1
      at, position = resume_at + 1, resume_position
    else
      return false
    end
  end
  for rest = at, #wanted do
    if wanted[rest] ~= '#' then return false end
  end
  return true
end

local function route(exchange, key)
  local routes = P .. 'routes:' .. exchange
  local known = redis.call('HGET', routes, key)
  if known then return cmsgpack.unpack(known) end
  local found, seen, key_words = {}, {}, words(key)
  for _, binding in ipairs(redis.call('SMEMBERS', P .. 'bindings:' .. exchange)) do
    local parts = split(binding)
    if not seen[parts[2]] and matches(parts[1], key, key_words) then
      seen[parts[2]] = true
      found[#found + 1] = parts[2]
    end
  end
  if redis.call('HLEN', routes) >= 10000 then redis.call('DEL', routes) end
  redis.call('HSET', routes, key, cmsgpack.pack(found))
  return found
end

-- Forget the remembered routes that a binding, made or taken away, changes.
local function reroute(exchange, pattern)
  local routes = P .. 'routes:' .. exchange
  for _, key in ipairs(redis.call('HKEYS', routes)) do
    if matches(pattern, key, words(key)) then redis.call('HDEL', routes, key) end
  end
end

local function unbind(queue)
  for _, binding in ipairs(redis.call('SMEMBERS', P .. 'bound:' .. queue)) do
    local parts = split(binding)
    redis.call('SREM', P .. 'bindings:' .. parts[1], parts[2] .. '\\0' .. queue)
    reroute(parts[1], parts[2])
  end
  redis.call('DEL', P .. 'bound:' .. queue)
end
"""

QUEUES: Final = """
local function rouse(consumer)
  return redis.call('PUBLISH', P .. 'wake:' .. session_of(consumer), consumer) > 0
end

-- Wake as many who wait as there are messages; one that hears nothing is away, and asks when it is back.
local function wake(queue, count)
  while count > 0 do
    local waiter = redis.call('ZPOPMIN', P .. 'waiting:' .. queue)[1]
    if not waiter then return end
    if rouse(waiter) then count = count - 1 end
  end
end

local function put(queue, meta, exchange, key, died_in, body)
  redis.call('XADD', P .. 'queue:' .. queue, '*', 'm', meta, 'x', exchange, 'k', key, 'd', died_in, 'b', body)
end

local function fields_of(list)
  local fields = {}
  for i = 1, #list, 2 do fields[list[i]] = list[i + 1] end
  return fields
end

local function forget(queue, id)
  redis.call('XACK', P .. 'queue:' .. queue, GROUP, id)
  redis.call('XDEL', P .. 'queue:' .. queue, id)
end

-- Move a message to its queue's dead-letter address; it stays, out of the way, while nobody takes it there.
local function bury(queue, spec, id)
  local stream = P .. 'queue:' .. queue
  local entry = redis.call('XRANGE', stream, id, id)[1]
  if not entry then return redis.call('XACK', stream, GROUP, id) and 0 end
  local targets = route(spec.exchange, spec.key)
  if #targets == 0 then
    redis.call('XCLAIM', stream, GROUP, UNBURIED, 0, id, 'JUSTID')
    redis.call('SADD', P .. 'unburied', queue)
    return 1
  end
  local fields = fields_of(entry[2])
  for _, target in ipairs(targets) do
    put(target, fields.m or '', spec.exchange, spec.key, queue, fields.b or '')
    wake(target, 1)
  end
  forget(queue, id)
  return 0
end

-- Give pending entries back to their queue, or bury those that were delivered too often. Returns how many of these
-- nobody takes.
local function give_back(queue, entries)
  local spec, back, unburied = settings(queue), 0, 0
  for _, entry in ipairs(entries) do
    if spec.limit and entry[4] - 1 >= spec.limit then
      unburied = unburied + bury(queue, spec, entry[1])
    else
      redis.call('XCLAIM', P .. 'queue:' .. queue, GROUP, RETURNED, 0, entry[1], 'JUSTID')
      back = back + 1
    end
  end
  wake(queue, back)
  return unburied
end

local function delete_queue(queue)
  for _, consumer in ipairs(redis.call('LRANGE', P .. 'consumers:' .. queue, 0, -1)) do rouse(consumer) end
  unbind(queue)
  redis.call('DEL', P .. 'queue:' .. queue, P .. 'consumers:' .. queue, P .. 'waiting:' .. queue)
  redis.call('HDEL', P .. 'queues', queue)
  redis.call('HDEL', P .. 'owners', queue)
  redis.call('SREM', P .. 'unburied', queue)
end
"""

HANDING: Final = """
-- How many messages wait, those that nobody has had yet and those that came back; and how many somebody has in hand.
local function census(queue)
  local stream = P .. 'queue:' .. queue
  local pending, returned, unburied = redis.call('XPENDING', stream, GROUP), 0, 0
  for _, count in ipairs(pending[4] or {}) do
    if count[1] == RETURNED then returned = tonumber(count[2]) end
    if count[1] == UNBURIED then unburied = tonumber(count[2]) end
  end
  return redis.call('XLEN', stream) - pending[1] + returned, pending[1] - returned - unburied
end

local function backlog(queue)
  local waiting = census(queue)
  return waiting
end

local function claim(stream, consumer, id) return redis.call('XCLAIM', stream, GROUP, consumer, 0, id)[1] end

-- Add a message to an answer. One that is pending but deleted is claimed as nothing.
local function hand(out, entry, deliveries)
  if not entry then return 0 end
  local fields = {}
  for i = 1, #entry[2], 2 do fields[entry[2][i]] = entry[2][i + 1] end
  local head = {entry[1], deliveries, fields.x or '', fields.k or '', fields.d or '', fields.m or ''}
  out[#out + 1] = table.concat(head, '\\0')
  out[#out + 1] = fields.b or ''
  return 1
end
"""

SESSIONS: Final = """
-- A consumer takes no more. What it holds stays with it until it is settled or its session ends.
local function leave(queue, consumer)
  redis.call('ZREM', P .. 'waiting:' .. queue, consumer)
  local spec, consumers = settings(queue), P .. 'consumers:' .. queue
  local first = redis.call('LINDEX', consumers, 0)
  if redis.call('LREM', consumers, 0, consumer) == 0 or not spec then return end
  local next = redis.call('LINDEX', consumers, 0)
  if spec.kind == 'broadcast' and not next then return delete_queue(queue) end
  if spec.kind ~= 'single' then
    wake(queue, backlog(queue))
  elseif first == consumer and next then
    rouse(next)
  end
end

local function retire(queue, consumer)
  if exists(queue) then redis.call('XGROUP', 'DELCONSUMER', P .. 'queue:' .. queue, GROUP, consumer) end
  redis.call('HDEL', P .. 'session:' .. session_of(consumer), consumer)
end

-- Everything a session held goes back, and what belongs to it goes with it.
local function end_session(session)
  local unburied, record = 0, fields_of(redis.call('HGETALL', P .. 'session:' .. session))
  for consumer, queue in pairs(record) do
    if consumer ~= 'ttl' then
      leave(queue, consumer)
      if exists(queue) then unburied = unburied + give_back(queue, pending_of(queue, consumer)) end
      retire(queue, consumer)
    end
  end
  for queue, owner in pairs(fields_of(redis.call('HGETALL', P .. 'owners'))) do
    if owner == session then delete_queue(queue) end
  end
  redis.call('DEL', P .. 'session:' .. session)
  redis.call('ZREM', P .. 'sessions', session)
  return unburied
end

local function live_on(session, ttl) redis.call('ZADD', P .. 'sessions', now() + ttl, session) end

-- End the sessions that said nothing for longer than they may. One whose connection is gone has less time: its process
-- is dead, or connects again at once. When nobody looked for long, Redis itself was away, and everyone has time anew.
-- Returns the sessions that were ended and how many dead letters nobody takes.
local function look_after(pause, absence)
  local time = now()
  local last = tonumber(redis.call('GET', P .. 'looked') or '0')
  redis.call('SET', P .. 'looked', time)
  local sessions = redis.call('ZRANGE', P .. 'sessions', 0, -1, 'WITHSCORES')
  local ended, unburied = {}, 0
  for i = 1, #sessions, 2 do
    local session, deadline = sessions[i], tonumber(sessions[i + 1])
    if time - last > pause then
      live_on(session, tonumber(redis.call('HGET', P .. 'session:' .. session, 'ttl') or '0'))
    elseif deadline < time then
      unburied = unburied + end_session(session)
      ended[#ended + 1] = session
    elseif redis.call('PUBSUB', 'NUMSUB', P .. 'wake:' .. session)[2] == 0 and deadline > time + absence then
      redis.call('ZADD', P .. 'sessions', time + absence, session)
    end
  end
  return ended, unburied
end
"""
