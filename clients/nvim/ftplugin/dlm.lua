-- Options of a .dlm buffer. Only the frontmatter can have comments: everything in the body is text
-- that the model learns.

if vim.b.did_ftplugin then
  return
end
vim.b.did_ftplugin = 1

vim.bo.comments = 'b:#'
vim.bo.commentstring = '# %s'
vim.b.undo_ftplugin = 'setlocal comments< commentstring<'

local config = require('dlm.config')
if config.get('treesitter') and vim.treesitter.language.add('dlm') then
  vim.treesitter.start(0, 'dlm')
  require('dlm.attach').fold(vim.api.nvim_get_current_buf(), 'v:lua.vim.treesitter.foldexpr()')
  vim.b.undo_ftplugin = vim.b.undo_ftplugin .. ' | silent! call v:lua.vim.treesitter.stop()'
end
vim.b.undo_ftplugin = vim.b.undo_ftplugin .. ' | setlocal foldmethod< foldexpr< foldlevel<'
