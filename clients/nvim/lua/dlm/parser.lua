-- The tree-sitter parser: where its source is, building it, offering it to nvim-treesitter. It is
-- two C files, so a plain C compiler is all that is needed.

local config = require('dlm.config')
local say = require('dlm.server').say

local M = {}

local SOURCES = { 'src/parser.c', 'src/scanner.c' }

---The folder of tree-sitter-dlm: what the user says, or the one of the checkout this plugin is in.
---@param given? string
---@return string?
function M.grammar(given)
  -- A plugin folder is often a link into a checkout.
  local here = vim.uv.fs_realpath(debug.getinfo(1, 'S').source:sub(2)) or ''
  local root = vim.fs.dirname(vim.fs.dirname(vim.fs.dirname(here)))
  local beside = vim.fs.joinpath(vim.fs.dirname(vim.fs.dirname(root)), 'grammar', 'tree-sitter-dlm')
  local folder = vim.fs.normalize(given or config.get('grammar') or beside)
  return vim.uv.fs_stat(vim.fs.joinpath(folder, SOURCES[1])) and folder or nil
end

---Where `install` puts the parser: a folder that is on 'runtimepath' by default.
---@return string
function M.target()
  return vim.fs.joinpath(vim.fn.stdpath('data'), 'site', 'parser', 'dlm.so')
end

---@return string? compiler
function M.compiler()
  for _, name in ipairs({ vim.env.CC or '', 'cc', 'gcc', 'clang' }) do
    if name ~= '' and vim.fn.executable(name) == 1 then
      return name
    end
  end
end

---Compile the parser. What is loaded already stays loaded until Neovim is started anew.
---@param given? string the grammar's folder
---@param done? fun(trouble: string?)
function M.install(given, done)
  done = done
    or function(trouble)
      if trouble then
        say(trouble, vim.log.levels.ERROR)
      else
        say('parser built: ' .. M.target() .. '; open documents use it from the next :edit')
      end
    end
  local folder = M.grammar(given)
  if not folder then
    return done('no grammar found: give the folder of tree-sitter-dlm, :DlmInstallParser {folder}')
  end
  local compiler = M.compiler()
  if not compiler then
    return done('no C compiler found: install one, or set $CC')
  end
  local target = M.target()
  vim.fn.mkdir(vim.fs.dirname(target), 'p')
  -- Built beside and renamed: a running Neovim may have the old one mapped.
  local made = ('%s.%d'):format(target, vim.fn.getpid())
  local command = { compiler, '-shared', '-fPIC', '-O2', '-std=c11', '-I', 'src', '-o', made }
  vim.list_extend(command, SOURCES)
  vim.system(command, { cwd = folder, text = true }, function(result)
    local trouble
    if result.code ~= 0 then
      trouble = 'the parser could not be built: ' .. vim.trim(result.stderr or '')
    else
      local _, problem = vim.uv.fs_rename(made, target)
      trouble = problem and 'the parser could not be put in place: ' .. problem
    end
    vim.schedule(function()
      done(trouble)
    end)
  end)
end

---Make `:TSInstall dlm` of nvim-treesitter's main branch work.
function M.register()
  local found, parsers = pcall(require, 'nvim-treesitter.parsers')
  local folder = M.grammar()
  if found and folder then
    parsers.dlm = { install_info = { path = folder }, tier = 2 }
  end
end

return M
