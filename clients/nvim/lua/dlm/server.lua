-- How the server is found and started. The first of: `vim.g.dlm.cmd`, the active virtual
-- environment, `dlm-server` on the PATH, `dlm lsp` on the PATH. Nothing is taken from the folder of
-- the document: that would run what a stranger's repository brings along.

local config = require('dlm.config')

local M = {}

local windows = vim.fn.has('win32') == 1

---@return string[]? cmd
---@return string source where it was found, or what to do when it was not
function M.command()
  local given = config.get('cmd')
  if given then
    return given, 'vim.g.dlm.cmd'
  end
  local environment = vim.env.VIRTUAL_ENV or vim.env.CONDA_PREFIX
  if environment and environment ~= '' then
    local name = windows and 'Scripts/dlm-server.exe' or 'bin/dlm-server'
    local path = vim.fs.joinpath(vim.fs.normalize(environment), name)
    if vim.fn.executable(path) == 1 then
      return { path }, 'the active virtual environment'
    end
  end
  local server = vim.fn.exepath('dlm-server')
  if server ~= '' then
    return { server }, 'PATH'
  end
  local cli = vim.fn.exepath('dlm')
  if cli ~= '' then
    return { cli, 'lsp' }, 'PATH'
  end
  return nil, 'install dlm, activate its virtual environment, or set vim.g.dlm.cmd'
end

---@param dispatchers vim.lsp.rpc.Dispatchers
---@param settings vim.lsp.ClientConfig
---@return vim.lsp.rpc.PublicClient
function M.start(dispatchers, settings)
  local cmd, source = M.command()
  if not cmd then
    -- Neovim shows what is raised here as the reason why there is no client.
    error('dlm: no server found: ' .. source, 0)
  end
  return vim.lsp.rpc.start(cmd, dispatchers, {
    cwd = settings.cmd_cwd,
    env = settings.cmd_env,
    detached = settings.detached,
  })
end

---The Python a command runs on: itself, or what its first lines name.
---@param cmd string[]
---@return string?
function M.python(cmd)
  local path = vim.fn.exepath(cmd[1])
  if vim.fs.basename(path):match('^python[%d.]*$') or vim.fs.basename(path) == 'python.exe' then
    return path
  end
  local file = path ~= '' and io.open(path, 'rb')
  if not file then
    return nil
  end
  local head = file:read(1024) or ''
  file:close()
  local interpreter = head:match('^#!%s*([^\r\n]+)')
  if interpreter and interpreter:match('/sh$') then
    -- Installers write this where the path is too long for a first line, or has blanks.
    interpreter = head:match("'''exec'%s+\"([^\"\n]+)\"") or head:match("'''exec'%s+(%S+)")
  end
  return interpreter and vim.fn.executable(interpreter) == 1 and interpreter or nil
end

---The client of a buffer, or nil after saying why there is none.
---@param bufnr integer
---@return vim.lsp.Client?
function M.client(bufnr)
  local client = vim.lsp.get_clients({ name = 'dlm', bufnr = bufnr })[1]
  if client then
    return client
  end
  if vim.bo[bufnr].filetype ~= 'dlm' then
    M.say('this is not a .dlm document', vim.log.levels.ERROR)
  else
    M.say('no server is attached to this document; :checkhealth dlm says why', vim.log.levels.ERROR)
  end
  return nil
end

---@param message string
---@param level? integer
function M.say(message, level)
  vim.notify('dlm: ' .. message, level or vim.log.levels.INFO)
end

return M
