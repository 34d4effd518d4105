-- What happens when the server takes on a buffer, and when it lets go of it again.

local config = require('dlm.config')

local M = {}

local TOKENS = {}
for token, capture in pairs(require('dlm.tables').tokens) do
  TOKENS['@lsp.type.' .. token .. '.dlm'] = '@' .. capture
end

---@param client vim.lsp.Client
---@param bufnr integer
function M.attached(client, bufnr)
  -- The server's own kinds of text look like the captures of the grammar they come from.
  for group, capture in pairs(TOKENS) do
    vim.api.nvim_set_hl(0, group, { link = capture, default = true })
  end
  if client:supports_method('textDocument/foldingRange', bufnr) then
    M.fold(bufnr, 'v:lua.vim.lsp.foldexpr()')
  end
  local group = vim.api.nvim_create_augroup('dlm.buffer' .. bufnr, {})
  vim.api.nvim_create_autocmd('LspNotify', {
    group = group,
    buffer = bufnr,
    callback = function(event)
      -- Reloading a file closes and opens it; the server forgets its answers then.
      if event.data.method == 'textDocument/didClose' and event.data.client_id == client.id then
        require('dlm.results').clear(bufnr)
      end
    end,
  })
  vim.api.nvim_create_autocmd('LspDetach', {
    group = group,
    buffer = bufnr,
    callback = function(event)
      if event.data.client_id == client.id then
        require('dlm.results').clear(bufnr)
        vim.api.nvim_del_augroup_by_id(group)
      end
    end,
  })
end

---Fold the windows of a buffer by `expr`, open at first, where the user has not chosen otherwise.
---@param bufnr integer
---@param expr string
function M.fold(bufnr, expr)
  if not config.get('folding') then
    return
  end
  for _, window in ipairs(vim.fn.win_findbuf(bufnr)) do
    local own = vim.wo[window][0]
    local ours = own.foldmethod == 'expr' and vim.w[window].dlm_foldexpr == own.foldexpr
    if own.foldmethod == 'manual' or ours then
      if not ours and own.foldlevel == 0 then
        own.foldlevel = 99
      end
      own.foldmethod = 'expr'
      own.foldexpr = expr
      vim.w[window].dlm_foldexpr = expr
    end
  end
end

return M
