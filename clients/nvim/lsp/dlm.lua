-- The server as `vim.lsp.enable('dlm')` starts it; `vim.lsp.config('dlm', {...})` overrides any part.
-- `cmd` is a function so that a virtual environment activated later counts on the next start.

---@type vim.lsp.Config
return {
  cmd = function(dispatchers, config)
    return require('dlm.server').start(dispatchers, config)
  end,
  filetypes = { 'dlm' },
  -- Not `.dlm`: that is the store in the home directory.
  root_markers = { '.git' },
  capabilities = { experimental = { dlm = { sectionResults = true, status = true } } },
  handlers = {
    ['dlm/status'] = function(...)
      return require('dlm.status').told(...)
    end,
    ['dlm/sectionResults'] = function(...)
      return require('dlm.results').told(...)
    end,
    ['$/progress'] = function(err, params, context)
      if not require('dlm.answer').heard(params) then
        return vim.lsp.handlers['$/progress'](err, params, context)
      end
    end,
    -- The same figures as in dlm/status, for older clients.
    ['dlm/trainingProgress'] = function() end,
  },
  commands = require('dlm.commands').of_lenses(),
}
