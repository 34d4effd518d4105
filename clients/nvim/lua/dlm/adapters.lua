-- Which of a document's named adapters is meant: said by the user, or chosen where there are
-- several.

local M = {}

---@class dlm.Chosen what dlm.prompt and dlm.export take besides
---@field adapter? string
---@field mix? string

---What a word on the command line stands for.
---@param word? string
---@return dlm.Chosen?
function M.of_word(word)
  if word then
    return word:find('=', 1, true) and { mix = word } or { adapter = word }
  end
end

---Who can be chosen; none where there is nothing to choose.
---@param found table the reply of dlm.adapters
---@param purpose 'ask'|'export'|'rollback' only a question can be left to the gate
---@return { label: string, chosen: dlm.Chosen?, mix: string? }[]
function M.items(found, purpose)
  if #found.adapters < 2 then
    return {}
  end
  local value = require('dlm.status').value
  local items, trained = {}, {}
  if found.gate and purpose == 'ask' then
    table.insert(items, { label = 'by question: the gate weighs all of them', chosen = {} })
  end
  for _, one in ipairs(found.adapters) do
    local version = value(one.version)
    if version then
      table.insert(trained, one.adapter)
    end
    local how = version and (' · version %d'):format(version) or ' · not trained yet'
    table.insert(items, { label = one.adapter .. how, chosen = { adapter = one.adapter } })
  end
  if purpose ~= 'rollback' then
    local even = vim.tbl_map(function(name)
      return ('%s=%.2g'):format(name, 1 / #trained)
    end, trained)
    local mix = table.concat(even, ',')
    table.insert(items, { label = 'a mix: their sum, each with a weight', mix = mix })
  end
  return items
end

---Call `done` with who is meant; a refusal ends it quietly.
---@param found table the reply of dlm.adapters
---@param purpose 'ask'|'export'|'rollback'
---@param done fun(chosen: dlm.Chosen)
function M.choose(found, purpose, done)
  local items = M.items(found, purpose)
  if #items == 0 then
    return done({})
  end
  local function label(item)
    return item.label
  end
  vim.ui.select(items, { prompt = 'Adapter', format_item = label, kind = 'dlm' }, function(item)
    if not item then
      return
    elseif item.chosen then
      return done(item.chosen)
    end
    vim.ui.input({ prompt = 'Mix: ', default = item.mix }, function(mix)
      if mix and vim.trim(mix) ~= '' then
        done({ mix = vim.trim(mix) })
      end
    end)
  end)
end

---Who answered, as the reply of dlm.prompt has it; empty where no adapter has a name.
---@param shares { adapter: string, version: integer, weight: number }[]
---@return string
function M.answered(shares)
  if #shares == 1 then
    return ('%s version %d'):format(shares[1].adapter, shares[1].version)
  end
  local parts = vim.tbl_map(function(share)
    return ('%s %.2g'):format(share.adapter, share.weight)
  end, shares)
  return table.concat(parts, ' + ')
end

return M
