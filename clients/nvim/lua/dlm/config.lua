-- What the user set in `vim.g.dlm`, read when it is needed, so that no setup() has to run first.
-- What the server shall do differently is not set here but in the settings of `vim.lsp.config`.

local tables = require('dlm.tables')

local M = {}

---@class dlm.Options
---@field cmd? string[] how to start the server; found by itself without
---@field enable? boolean start the server for .dlm buffers [true]
---@field treesitter? boolean highlight with tree-sitter where the parser is there [true]
---@field folding? boolean fold by section where 'foldmethod' was not changed [true]
---@field grammar? string the folder of tree-sitter-dlm, for :DlmInstallParser

---@type table<string, { type: string, default: any }>
local KNOWN = {
  cmd = { type = 'table' },
  enable = { type = 'boolean', default = true },
  treesitter = { type = 'boolean', default = true },
  folding = { type = 'boolean', default = true },
  grammar = { type = 'string' },
}

---The value of an option; one of the wrong type counts as not set, :checkhealth says so.
---@param name string
---@return any
function M.get(name)
  local options = type(vim.g.dlm) == 'table' and vim.g.dlm or {}
  local known = KNOWN[name]
  if type(options[name]) ~= known.type then
    return known.default
  end
  return options[name]
end

---@return string[] problems
function M.problems()
  local given = vim.g.dlm
  if given == nil then
    return {}
  end
  if type(given) ~= 'table' then
    return { 'vim.g.dlm must be a table' }
  end
  local found = {}
  for name, value in vim.spairs(given) do
    if not KNOWN[name] then
      table.insert(found, ('vim.g.dlm has no option %q'):format(name))
    elseif type(value) ~= KNOWN[name].type then
      table.insert(found, ('vim.g.dlm.%s must be a %s'):format(name, KNOWN[name].type))
    end
  end
  return found
end

---A setting of the server as the client passes it on, or its default.
---@param client vim.lsp.Client
---@param name string without the leading `dlm.`
---@return any
function M.setting(client, name)
  local default = tables.settings[name]
  local given = vim.tbl_get(client.settings or {}, 'dlm', unpack(vim.split(name, '.', { plain = true })))
  if given == nil or type(given) ~= type(default) then
    return default
  end
  return given
end

return M
