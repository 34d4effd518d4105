-- The server's commands: how one is asked for, and what is said when it fails.

local say = require('dlm.server').say

local M = {}

---Run a command of the server; `done` gets its reply, trouble is shown.
---@param client vim.lsp.Client
---@param name string
---@param argument table
---@param bufnr integer
---@param done? fun(reply: any)
---@param failed? fun() called when there is no reply
function M.run(client, name, argument, bufnr, done, failed)
  local arguments = { next(argument) and argument or vim.empty_dict() }
  local params = { command = name, arguments = arguments }
  client:request('workspace/executeCommand', params, function(err, reply)
    if not err then
      if done then
        done(reply)
      end
      return
    end
    if failed then
      failed()
    end
    if not (type(err.data) == 'table' and err.data.ending) then
      say(err.message, vim.log.levels.ERROR)
    end
  end, bufnr)
end

---@param bufnr integer
---@return { uri: string }
function M.document(bufnr)
  return { uri = vim.uri_from_bufnr(bufnr) }
end

return M
