-- What a user's own configuration may call.

local M = {}

---What dlm does for the current buffer, for a statusline; empty when there is nothing to say.
---  vim.o.statusline = '%f %h%m%r%=%{v:lua.require("dlm").status()} %l,%c'
---@return string
function M.status()
  return require('dlm.status').text(vim.api.nvim_get_current_buf())
end

return M
