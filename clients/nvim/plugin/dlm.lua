-- What is there from the start: the commands, and the server for every .dlm buffer. Everything
-- else is loaded on first use, so that the plugin costs nothing where no .dlm file is open.

if vim.g.loaded_dlm then
  return
end
vim.g.loaded_dlm = true

if vim.fn.has('nvim-0.11') == 0 then
  vim.notify('dlm: needs Neovim 0.11 or newer', vim.log.levels.ERROR)
  return
end

vim.treesitter.language.register('dlm', 'dlm')
require('dlm.commands').define()

local group = vim.api.nvim_create_augroup('dlm', {})

-- nvim-treesitter (main branch) asks with this event what other parsers there are.
vim.api.nvim_create_autocmd('User', {
  group = group,
  pattern = 'TSUpdate',
  callback = function()
    require('dlm.parser').register()
  end,
})

vim.api.nvim_create_autocmd('LspAttach', {
  group = group,
  callback = function(event)
    local client = vim.lsp.get_client_by_id(event.data.client_id)
    if client and client.name == 'dlm' then
      require('dlm.attach').attached(client, event.buf)
    end
  end,
})

if require('dlm.config').get('enable') then
  vim.lsp.enable('dlm')
end
