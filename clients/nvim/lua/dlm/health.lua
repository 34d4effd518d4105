-- :checkhealth dlm

local config = require('dlm.config')
local parser = require('dlm.parser')
local server = require('dlm.server')

local M = {}

local health = vim.health

-- What the engine imports; only looked for, as importing takes seconds.
local ENGINE = [[
import importlib.util as u
import sys
import dlm_engine
wanted = ("torch", "transformers", "peft", "safetensors", "tokenizers")
lacking = [name for name in wanted if u.find_spec(name) is None]
print(sys.version.split()[0], dlm_engine.__version__, ",".join(lacking) or "-")
]]

local function ran(command)
  local started, process = pcall(vim.system, command, { text = true, timeout = 20000 })
  if not started then
    return nil, tostring(process)
  end
  local result = process:wait()
  if result.code ~= 0 then
    return nil, vim.trim(result.stderr ~= '' and result.stderr or result.stdout)
  end
  return vim.trim(result.stdout)
end

local function check_editor()
  health.start('dlm: Neovim')
  if vim.fn.has('nvim-0.11') == 1 then
    health.ok('Neovim ' .. tostring(vim.version()))
  else
    health.error('Neovim ' .. tostring(vim.version()) .. ' is too old: 0.11 or newer is needed')
  end
  for _, problem in ipairs(config.problems()) do
    health.error(problem)
  end
  if not vim.lsp.is_enabled('dlm') then
    health.warn('the server is not enabled', "vim.lsp.enable('dlm')")
  end
end

local function check_server()
  health.start('dlm: server')
  local own = vim.lsp.config.dlm.cmd
  local cmd, source = server.command()
  if type(own) == 'table' then
    cmd, source = own, 'vim.lsp.config'
  end
  if not cmd then
    health.error('not found', source)
    return
  end
  health.info(('%s (from %s)'):format(table.concat(cmd, ' '), source))
  -- `dlm lsp` has no --version of its own.
  local asked = cmd[#cmd] == 'lsp' and vim.list_slice(cmd, 1, #cmd - 1) or vim.list_slice(cmd)
  local version, trouble = ran(vim.list_extend(asked, { '--version' }))
  if not version then
    health.error('does not start: ' .. trouble)
    return
  end
  health.ok(version)
  local settings = vim.lsp.config.dlm.settings or {}
  local python = vim.tbl_get(settings, 'dlm', 'engine', 'python') or server.python(cmd)
  if not python then
    health.warn('which Python it runs on could not be found out: the engine was not checked')
    return
  end
  local said, why = ran({ python, '-P', '-c', ENGINE })
  if not said then
    health.error(('the engine cannot be imported by %s: %s'):format(python, why))
    return
  end
  local words = vim.split(said, ' ')
  local engine = ('engine %s on Python %s (%s)'):format(words[2], words[1], python)
  if words[3] == '-' then
    health.ok(engine)
  else
    health.error(engine .. ' lacks ' .. words[3], 'install dlm with all it depends on')
  end
end

local function check_parser()
  health.start('dlm: tree-sitter')
  local added = vim.treesitter.language.add('dlm')
  if not added then
    health.warn('no parser: colours and folds come from the server only', {
      ':DlmInstallParser builds it with a C compiler',
      parser.grammar() and ('the grammar is in ' .. parser.grammar()) or 'no grammar was found',
    })
    return
  end
  local found = vim.api.nvim_get_runtime_file('parser/dlm.*', false)[1] or 'loaded'
  local abi = vim.treesitter.language.inspect('dlm').abi_version
  health.ok(('parser %s (ABI %s)'):format(found, abi or '?'))
  for _, name in ipairs({ 'highlights', 'injections', 'folds', 'locals' }) do
    local good, trouble = pcall(vim.treesitter.query.get, 'dlm', name)
    if not good then
      health.error(('the query %s does not fit the parser: %s'):format(name, trouble), {
        'the parser is of another version than the plugin: :DlmInstallParser, then start Neovim anew',
      })
    end
  end
  if not vim.treesitter.language.add('yaml') then
    health.info('without a parser for yaml the frontmatter is coloured by the server alone')
  end
end

local function check_clients()
  health.start('dlm: documents')
  local clients = vim.lsp.get_clients({ name = 'dlm' })
  if #clients == 0 then
    health.info('no server runs; it starts with the first .dlm document')
  end
  for _, client in ipairs(clients) do
    local count = vim.tbl_count(client.attached_buffers)
    local state = require('dlm.status').of(client.id)
    health.ok(
      ('server %d: %d document(s), root %s, positions in %s, engine %s'):format(
        client.id,
        count,
        client.root_dir or 'none',
        client.offset_encoding,
        state and state.engine or 'off'
      )
    )
  end
end

function M.check()
  check_editor()
  check_server()
  check_parser()
  check_clients()
end

return M
