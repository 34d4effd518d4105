-- What a document says of itself: choosing its base, giving it a new id.

local requests = require('dlm.requests')

local M = {}

local run, document = requests.run, requests.document

---@param client vim.lsp.Client
---@param bufnr integer
---@param key? string
function M.base(client, bufnr, key)
  local function set(chosen)
    local argument = vim.tbl_extend('error', document(bufnr), { key = chosen })
    run(client, 'dlm.setBaseModel', argument, bufnr)
  end
  if key then
    return set(key)
  end
  run(client, 'dlm/listBaseModels', {}, bufnr, function(bases)
    table.sort(bases, function(a, b)
      return a.params < b.params
    end)
    vim.ui.select(bases, {
      prompt = 'The base to train on',
      kind = 'dlm',
      format_item = function(base)
        local licence = base.requires_acceptance and ', licence to accept' or ''
        return ('%s · %.1f GB · %s%s'):format(base.key, base.size_gb_fp16, base.license_spdx, licence)
      end,
    }, function(base)
      if base then
        set(base.key)
      end
    end)
  end)
end

---@param client vim.lsp.Client
---@param bufnr integer
function M.new_id(client, bufnr)
  local said = 'With a new id the document begins anew: what was trained stays with the old id.'
  local new = 'Give it a new id'
  vim.ui.select({ new, 'Leave it' }, { prompt = said, kind = 'dlm', format_item = tostring }, function(choice)
    if choice == new then
      run(client, 'dlm.newId', document(bufnr), bufnr)
    end
  end)
end

return M
