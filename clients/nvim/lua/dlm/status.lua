-- What the engine of each server does, as `dlm/status` tells it: kept for the statusline, and said
-- aloud only when it is the end of something or trouble.

local say = require('dlm.server').say

local M = {}

---@type table<integer, table> by client id
local states = {}

local KINDS = { train = 'training', prompt = 'asking', probe = 'asking probes', export = 'exporting' }

---@param params table docs/lsp-extensions.md
---@param context lsp.HandlerContext
function M.told(_, params, context)
  local before = states[context.client_id] or {}
  states[context.client_id] = params
  local said = M.news(before, params)
  if said then
    say(said.message, said.level)
  end
  vim.api.nvim_exec_autocmds('User', { pattern = 'DlmStatus', data = params, modeline = false })
  vim.cmd.redrawstatus({ bang = true })
end

---What to tell the user of the change from one status to the next.
---@param before table
---@param now table
---@return { message: string, level: integer }?
function M.news(before, now)
  local last = M.value(now.last)
  if last and not vim.deep_equal(last, M.value(before.last)) then
    if last.ending == 'failed' or last.ending == 'unavailable' then
      local what = (KINDS[last.kind] or last.kind) .. ' failed: ' .. (M.value(last.message) or '')
      return { message = what, level = vim.log.levels.ERROR }
    elseif last.ending == 'done' and last.kind == 'train' then
      return { message = M.value(last.message) or 'trained', level = vim.log.levels.INFO }
    end
  end
  local message = M.value(now.message)
  if message and message ~= M.value(before.message) then
    return { message = message, level = vim.log.levels.WARN }
  end
end

---JSON null as nil.
function M.value(value)
  if value == vim.NIL then
    return nil
  end
  return value
end

---@param bufnr integer
---@return string
function M.text(bufnr)
  local client = vim.lsp.get_clients({ name = 'dlm', bufnr = bufnr })[1]
  if not client then
    return ''
  end
  local state = states[client.id] or { engine = 'off' }
  local job = M.value(state.job)
  if job then
    return 'dlm: ' .. M.of_job(job)
  end
  local queued = state.queued or 0
  if queued > 0 then
    return ('dlm: %d waiting'):format(queued)
  elseif state.engine == 'failed' or state.engine == 'restarting' or state.engine == 'starting' then
    return 'dlm: engine ' .. state.engine
  end
  return 'dlm'
end

---@param job table
---@return string
function M.of_job(job)
  local value = M.value
  local of = value(job.adapter) and ' ' .. job.adapter or ''
  local parts = { (KINDS[job.kind] or job.kind) .. of }
  if value(job.step) and value(job.steps) then
    table.insert(parts, ('step %d/%d'):format(job.step, job.steps))
  elseif value(job.phase) == 'waiting' then
    table.insert(parts, 'waiting')
  end
  if value(job.known) and value(job.rows) then
    table.insert(parts, ('%d/%d known'):format(job.known, job.rows))
  end
  if value(job.loss) then
    table.insert(parts, ('loss %.2f'):format(job.loss))
  end
  if value(job.secondsLeft) then
    table.insert(parts, ('%d s left'):format(math.ceil(job.secondsLeft)))
  end
  return table.concat(parts, ' · ')
end

---@param client_id integer
---@return table?
function M.of(client_id)
  return states[client_id]
end

return M
