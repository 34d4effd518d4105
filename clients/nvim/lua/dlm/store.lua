-- What lies in a document's store: its folder, and the runs with their losses as lines of bars.

local requests = require('dlm.requests')
local server = require('dlm.server')

local M = {}

local say = server.say
local run, document = requests.run, requests.document
--- the most characters of a curve
local WIDE = 40
local BARS = { '▁', '▂', '▃', '▄', '▅', '▆', '▇', '█' }

---@param client vim.lsp.Client
---@param bufnr integer
function M.open_store(client, bufnr)
  run(client, 'dlm.openStore', document(bufnr), bufnr, function(store)
    if store.exists then
      vim.cmd.tabedit(vim.fn.fnameescape(store.path))
    else
      say('the document has no store yet; training makes it')
    end
  end)
end

---The losses of a run as a line of bars, evenly spread steps of them; '' where none is known.
---@param steps { step: integer, loss: number? }[]
---@return string
function M.curve(steps)
  local value = require('dlm.status').value
  local losses = vim.tbl_filter(value, vim.tbl_map(function(step)
    return value(step.loss) or false
  end, steps))
  local low, high = math.huge, -math.huge
  for _, loss in ipairs(losses) do
    low, high = math.min(low, loss), math.max(high, loss)
  end
  local bars = {}
  local count = math.min(WIDE, #losses)
  for at = 1, count do
    local loss = losses[count == 1 and 1 or 1 + math.floor((at - 1) * (#losses - 1) / (count - 1))]
    local share = high > low and (loss - low) / (high - low) or 0
    bars[at] = BARS[1 + math.floor(share * (#BARS - 1) + 0.5)]
  end
  return table.concat(bars)
end

---@param found table one of the reply of dlm.runs
---@return string
function M.run_line(found)
  local value = require('dlm.status').value
  local parts = { value(found.run) and ('run %d'):format(found.run) or 'run' }
  if value(found.adapter) then
    parts[1] = parts[1] .. ' of ' .. found.adapter
  end
  table.insert(parts, value(found.version) and ('version %d'):format(found.version) or 'no version')
  table.insert(parts, value(found.when))
  table.insert(parts, ('%d steps'):format(#found.steps))
  if value(found.loss) then
    table.insert(parts, ('loss %.3f'):format(found.loss))
  end
  if value(found.validationLoss) then
    table.insert(parts, ('held out %.3f'):format(found.validationLoss))
  end
  table.insert(parts, M.curve(found.steps))
  return table.concat(parts, ' · ')
end

---@param client vim.lsp.Client
---@param bufnr integer
function M.runs(client, bufnr)
  run(client, 'dlm.runs', document(bufnr), bufnr, function(runs)
    if #runs == 0 then
      say('not trained yet')
      return
    end
    vim.cmd.new()
    local made = vim.api.nvim_get_current_buf()
    vim.bo[made].buftype, vim.bo[made].bufhidden = 'nofile', 'wipe'
    -- The newest first.
    local lines = vim.iter(runs):map(M.run_line):rev():totable()
    vim.api.nvim_buf_set_lines(made, 0, -1, false, lines)
    vim.bo[made].modifiable = false
  end)
end

return M
