-- The :Dlm commands. Each asks the server and says how it ended in one line; what a job of the
-- engine has to say comes with `dlm/status` and is not said twice.

local adapters = require('dlm.adapters')
local config = require('dlm.config')
local frontmatter = require('dlm.frontmatter')
local requests = require('dlm.requests')
local server = require('dlm.server')
local store = require('dlm.store')

local M = {}

local say, ERROR = server.say, vim.log.levels.ERROR
local run, document = requests.run, requests.document

---Asks which, then calls `done` with it; a refusal ends it quietly.
local function choose(items, prompt, format, done)
  vim.ui.select(items, { prompt = prompt, format_item = format, kind = 'dlm' }, function(item)
    if item then
      done(item)
    end
  end)
end

---@param client vim.lsp.Client
---@param bufnr integer
---@param how? string 'anew': without what the version before knew
function M.train(client, bufnr, how)
  if vim.bo[bufnr].modified then
    say('the saved file is what is trained: write it first, or use :DlmTrain!', ERROR)
    return
  end
  local argument = document(bufnr)
  argument.fresh = how == 'anew'
  run(client, 'dlm.train', argument, bufnr)
end

---@param client vim.lsp.Client
---@param bufnr integer
function M.cancel(client, bufnr)
  run(client, 'dlm.cancel', {}, bufnr, function(reply)
    say(reply.cancelled == 0 and 'nothing to cancel' or ('cancelled %d'):format(reply.cancelled))
  end)
end

---Call `done` with the adapter that is meant: the one that was `said`, else the one that is chosen.
---@param said? dlm.Chosen
local function of_adapter(client, bufnr, said, purpose, done)
  if said then
    return done(said)
  end
  run(client, 'dlm.adapters', document(bufnr), bufnr, function(found)
    adapters.choose(found, purpose, done)
  end)
end

---@param client vim.lsp.Client
---@param bufnr integer
---@param question string
---@param version? 'base'
function M.prompt(client, bufnr, question, version)
  of_adapter(client, bufnr, version and {}, 'ask', function(chosen)
    local answer = require('dlm.answer').begin(question)
    local argument = { question = question, version = version, token = answer.token }
    argument = vim.tbl_extend('error', document(bufnr), argument, chosen)
    run(client, 'dlm.prompt', argument, bufnr, function(reply)
      answer.done(reply.text, adapters.answered(reply.shares))
    end, answer.failed)
  end)
end

---Ask what `argument` says and show it in the text; where that is not drawn, in a window.
local function ask(client, bufnr, name, argument)
  argument = vim.tbl_extend('error', document(bufnr), argument)
  run(client, name, argument, bufnr, function(reply)
    local first = reply.answers[1]
    if first and config.setting(client, 'results.display') ~= 'inline' then
      local value = require('dlm.status').value
      local of = value(first.adapter) and first.adapter .. ' ' or ''
      local title = ('%sversion %s'):format(of, first.version)
      require('dlm.answer').begin(title).done(value(first.adapted) or '')
    end
  end)
end

---@param client vim.lsp.Client
---@param bufnr integer
function M.ask(client, bufnr)
  local position = vim.lsp.util.make_position_params(0, client.offset_encoding).position
  ask(client, bufnr, 'dlm.askSection', { position = position })
end

---@param client vim.lsp.Client
---@param bufnr integer
---@param first integer
---@param last integer
function M.ask_range(client, bufnr, first, last)
  local from, to = { first, 0 }, { last, vim.v.maxcol }
  local start, stop = vim.fn.getpos("'<"), vim.fn.getpos("'>")
  if vim.fn.visualmode() == 'v' and start[2] == first and stop[2] == last then
    from, to = { first, start[3] - 1 }, { last, stop[3] - 1 }
  end
  local length = #vim.api.nvim_buf_get_lines(bufnr, last - 1, last, false)[1]
  to[2] = math.max(0, math.min(to[2], length - 1))
  local encoding = client.offset_encoding
  local range = vim.lsp.util.make_given_range_params(from, to, bufnr, encoding).range
  ask(client, bufnr, 'dlm.askSelection', { range = range })
end

---@param client vim.lsp.Client
---@param bufnr integer
function M.probe(client, bufnr)
  run(client, 'dlm.probe', document(bufnr), bufnr, function(reply)
    local right = 0
    for _, answer in ipairs(reply.answers) do
      right = right + (answer.right == true and 1 or 0)
    end
    if #reply.answers == 0 then
      say('no question is marked !probe')
    else
      say(('%d of %d probes passed'):format(right, #reply.answers))
    end
  end)
end

---@param client vim.lsp.Client
---@param bufnr integer
---@param target? string
---@param quant? string
---@param said? dlm.Chosen
function M.export(client, bufnr, target, quant, said)
  if target then
    of_adapter(client, bufnr, said, 'export', function(chosen)
      local argument = { target = target, quant = quant }
      argument = vim.tbl_extend('error', document(bufnr), argument, chosen)
      run(client, 'dlm.export', argument, bufnr, function(reply)
        say('exported to ' .. reply.folder)
      end)
    end)
    return
  end
  run(client, 'dlm.exportTargets', document(bufnr), bufnr, function(targets)
    choose(targets, 'Export to', function(item)
      return item.label
    end, function(chosen)
      table.sort(chosen.quants, function(a, b)
        return a.default and not b.default
      end)
      choose(chosen.quants, 'Quantisation', function(item)
        return item.quant .. (item.default and " (the document's choice)" or '')
      end, function(item)
        M.export(client, bufnr, chosen.target, item.quant)
      end)
    end)
  end)
end

---@param version table one of the reply of dlm.versions
---@return string
function M.version_line(version)
  local value = require('dlm.status').value
  local parts = { ('version %d'):format(version.version) }
  if value(version.adapter) then
    parts[1] = parts[1] .. ' of ' .. version.adapter
  end
  if version.current then
    parts[1] = parts[1] .. ' (current)'
  end
  table.insert(parts, value(version.when))
  if value(version.steps) then
    table.insert(parts, ('%d steps'):format(version.steps))
  end
  if value(version.loss) then
    table.insert(parts, ('loss %.3f'):format(version.loss))
  end
  if value(version.reason) then
    table.insert(parts, tostring(version.reason))
  end
  return table.concat(parts, ' · ')
end

---@param client vim.lsp.Client
---@param bufnr integer
function M.versions(client, bufnr)
  run(client, 'dlm.versions', document(bufnr), bufnr, function(versions)
    if #versions == 0 then
      say('not trained yet')
      return
    end
    choose(versions, 'Make current', M.version_line, function(version)
      if not version.current then
        M.rollback(client, bufnr, version.version, { adapter = version.adapter })
      end
    end)
  end)
end

---@param client vim.lsp.Client
---@param bufnr integer
---@param version integer
---@param said? dlm.Chosen
function M.rollback(client, bufnr, version, said)
  of_adapter(client, bufnr, said, 'rollback', function(chosen)
    local argument = vim.tbl_extend('error', document(bufnr), { version = version }, chosen)
    run(client, 'dlm.rollback', argument, bufnr, function(reply)
      local of = chosen.adapter and ' of ' .. chosen.adapter or ''
      say(('version %d%s is current'):format(reply.version, of))
    end)
  end)
end

---@param client vim.lsp.Client
---@param bufnr integer
function M.migrate(client, bufnr)
  run(client, 'dlm.migrate', document(bufnr), bufnr, function(reply)
    say(reply.changed and 'migrated; :undo takes it back' or 'nothing to migrate')
  end)
end

---@param client vim.lsp.Client
---@param bufnr integer
function M.info(client, bufnr)
  run(client, 'dlm.debugInformation', {}, bufnr, function(reply)
    vim.cmd.new()
    local made = vim.api.nvim_get_current_buf()
    vim.bo[made].buftype, vim.bo[made].bufhidden = 'nofile', 'wipe'
    vim.api.nvim_buf_set_lines(made, 0, -1, false, vim.split(vim.inspect(reply), '\n'))
    vim.bo[made].filetype, vim.bo[made].modifiable = 'lua', false
  end)
end

---Stop the server, wait until it has gone, start it for all open documents.
function M.restart()
  local clients = vim.lsp.get_clients({ name = 'dlm' })
  vim.lsp.enable('dlm', false)
  local timer = assert(vim.uv.new_timer())
  local turns = 0
  timer:start(0, 50, vim.schedule_wrap(function()
    if timer:is_closing() then
      return
    end
    turns = turns + 1
    local left = vim.tbl_filter(function(client)
      return not client:is_stopped()
    end, clients)
    if #left == 0 then
      timer:close()
      vim.lsp.enable('dlm')
    elseif turns == 60 then
      for _, client in ipairs(left) do
        client:stop(true)
      end
    end
  end))
end

-- Completion asks the server and waits: it answers these within milliseconds, from the disk.
local function reply_now(name)
  local bufnr = vim.api.nvim_get_current_buf()
  local client = vim.lsp.get_clients({ name = 'dlm', bufnr = bufnr })[1]
  if not client then
    return {}
  end
  local params = { command = name, arguments = { document(bufnr) } }
  local answer = client:request_sync('workspace/executeCommand', params, 3000, bufnr)
  return answer and answer.result or {}
end

local function beginning_with(lead, words)
  return vim.tbl_filter(function(word)
    return vim.startswith(word, lead)
  end, words)
end

---The names there are to choose from.
local function names()
  return vim.tbl_map(function(one)
    return one.adapter
  end, reply_now('dlm.adapters').adapters or {})
end

---@param lead string
---@param line string
function M.complete_export(lead, line)
  local words = vim.split(vim.trim(line:sub(1, #line - #lead)), '%s+')
  if #words == 3 then
    return beginning_with(lead, names())
  end
  local found = {}
  for _, target in ipairs(reply_now('dlm.exportTargets')) do
    if #words == 1 then
      table.insert(found, target.target)
    elseif #words == 2 and target.target == words[2] then
      for _, quant in ipairs(target.quants) do
        table.insert(found, quant.quant)
      end
    end
  end
  return beginning_with(lead, found)
end

---@param lead string
---@param line string
function M.complete_version(lead, line)
  local words = vim.split(vim.trim(line:sub(1, #line - #lead)), '%s+')
  local found = {}
  for _, version in ipairs(#words < 3 and reply_now('dlm.versions') or {}) do
    local number = tostring(version.version)
    if #words == 1 and not version.current and not vim.list_contains(found, number) then
      table.insert(found, number)
    elseif #words == 2 and not version.current and number == words[2] then
      table.insert(found, version.adapter)
    end
  end
  return beginning_with(lead, found)
end

---What the server's lenses and actions name, where this client does it in its own way.
---@return table<string, fun(command: lsp.Command, context: table)>
function M.of_lenses()
  local found = {}
  local function add(name, run)
    found[name] = function(command, context)
      local client = vim.lsp.get_client_by_id(context.client_id)
      if client then
        run(client, context.bufnr, (command.arguments or {})[1] or {})
      end
    end
  end
  add('dlm.train', function(client, bufnr)
    M.train(client, bufnr)
  end)
  add('dlm.cancel', M.cancel)
  add('dlm.versions', M.versions)
  add('dlm.probe', M.probe)
  add('dlm.export', function(client, bufnr, argument)
    M.export(client, bufnr, argument.target, argument.quant)
  end)
  add('dlm.askSection', function(client, bufnr, argument)
    run(client, 'dlm.askSection', argument, bufnr)
  end)
  return found
end

---Define the commands. Each is documented in doc/dlm.txt.
function M.define()
  ---@param name string
  ---@param run fun(client: vim.lsp.Client, bufnr: integer, call: vim.api.keyset.create_user_command.command_args)
  local function of_document(name, description, run, options)
    options = vim.tbl_extend('error', options or {}, { desc = description })
    vim.api.nvim_create_user_command(name, function(call)
      local bufnr = vim.api.nvim_get_current_buf()
      if name == 'DlmTrain' and call.bang and vim.bo[bufnr].filetype == 'dlm' then
        local written, problem = pcall(vim.cmd.update)
        if not written then
          -- Vim's own words, without where in this file they came up.
          say('not trained, as it is not written: ' .. (tostring(problem):match('E%d+:[^\n]*') or problem), ERROR)
          return
        end
      end
      local client = server.client(bufnr)
      if client then
        run(client, bufnr, call)
      end
    end, options)
  end

  of_document('DlmTrain', 'Train the saved document', function(client, bufnr, call)
    if call.args ~= '' and call.args ~= 'anew' then
      say('train how? anew, or as it is', ERROR)
    else
      M.train(client, bufnr, call.args)
    end
  end, { bang = true, nargs = '?', complete = function(lead)
    return beginning_with(lead, { 'anew' })
  end })
  of_document('DlmCancel', 'Cancel what the engine does', M.cancel)
  of_document('DlmPrompt', 'Ask the model a question', function(client, bufnr, call)
    local version = call.bang and 'base' or nil
    if call.args ~= '' then
      M.prompt(client, bufnr, call.args, version)
      return
    end
    vim.ui.input({ prompt = 'Ask: ' }, function(question)
      if question and vim.trim(question) ~= '' then
        M.prompt(client, bufnr, question, version)
      end
    end)
  end, { nargs = '*', bang = true })
  of_document('DlmAsk', 'Ask the question at the cursor, or the lines', function(client, bufnr, call)
    if call.range == 0 then
      M.ask(client, bufnr)
    else
      M.ask_range(client, bufnr, call.line1, call.line2)
    end
  end, { range = true })
  of_document('DlmProbe', 'Ask every question marked !probe', M.probe)
  of_document('DlmExport', 'Export the model', function(client, bufnr, call)
    M.export(client, bufnr, call.fargs[1], call.fargs[2], adapters.of_word(call.fargs[3]))
  end, { nargs = '*', complete = M.complete_export })
  of_document('DlmVersions', 'Choose among the trained versions', M.versions)
  of_document('DlmRollback', 'Make a version the current one', function(client, bufnr, call)
    local version = tonumber(call.fargs[1])
    if call.args == '' then
      M.versions(client, bufnr)
    elseif version then
      M.rollback(client, bufnr, version, adapters.of_word(call.fargs[2]))
    else
      say('give the number of a version', ERROR)
    end
  end, { nargs = '*', complete = M.complete_version })
  of_document('DlmRuns', 'Show the training runs and their losses', store.runs)
  of_document('DlmOpenStore', "Open the folder of the document's store", store.open_store)
  of_document('DlmBase', 'Choose the base', function(client, bufnr, call)
    frontmatter.base(client, bufnr, call.fargs[1])
  end, { nargs = '?' })
  of_document('DlmNewId', 'Give the document a new id', frontmatter.new_id)
  of_document('DlmMigrate', 'Bring the document to the current format', M.migrate)
  of_document('DlmInfo', 'Show what a bug report needs', M.info)

  vim.api.nvim_create_user_command('DlmRestart', function(call)
    if call.args == 'engine' then
      local bufnr = vim.api.nvim_get_current_buf()
      local client = server.client(bufnr)
      if client then
        run(client, 'dlm.restartEngine', {}, bufnr)
      end
    elseif call.args == '' or call.args == 'server' then
      M.restart()
    else
      say('restart what? engine or server', ERROR)
    end
  end, {
    nargs = '?',
    desc = 'Restart the server, or its engine only',
    complete = function(lead)
      return beginning_with(lead, { 'engine', 'server' })
    end,
  })
  vim.api.nvim_create_user_command('DlmLog', function()
    vim.cmd.tabedit(vim.fn.fnameescape(vim.lsp.log.get_filename()))
    vim.cmd.normal({ 'G', bang = true })
  end, { desc = "Open Neovim's log of language servers" })
  vim.api.nvim_create_user_command('DlmInstallParser', function(call)
    require('dlm.parser').install(call.args ~= '' and call.args or nil)
  end, { nargs = '?', complete = 'dir', desc = 'Build the tree-sitter parser with a C compiler' })
end

return M
