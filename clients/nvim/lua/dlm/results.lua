-- What the model answered, drawn below the questions as virtual lines and never put into the text.
-- The server tells all results of a document at once and again after every edit, so what is about
-- another version than the buffer's is dropped, and what is drawn is always replaced as a whole.

local config = require('dlm.config')
local value = require('dlm.status').value

local M = {}

M.namespace = vim.api.nvim_create_namespace('dlm.results')

M.groups = {
  DlmResult = 'NonText',
  DlmResultAdapted = 'DiagnosticVirtualTextInfo',
  DlmResultBase = 'Comment',
  DlmResultReference = 'Comment',
  DlmResultStale = 'NonText',
  DlmResultPassed = 'DiagnosticOk',
  DlmResultFailed = 'DiagnosticError',
  DlmResultChanged = 'DiagnosticWarn',
  DlmResultError = 'DiagnosticError',
}

local HEADS = {
  running = { 'asking …', 'DlmResult' },
  ok = { 'answered', 'DlmResult' },
  stale = { 'stale', 'DlmResultStale' },
  error = { 'could not be asked', 'DlmResultError' },
  passed = { 'passed', 'DlmResultPassed' },
  failed = { 'failed', 'DlmResultFailed' },
  changed = { 'changed', 'DlmResultChanged' },
}

local INDENT = '  '
local LABEL = 10

---@param params table docs/lsp-extensions.md
---@param context lsp.HandlerContext
function M.told(_, params, context)
  local client = vim.lsp.get_client_by_id(context.client_id)
  local bufnr = client and M.buffer(client, params.uri)
  if not client or not bufnr or params.version ~= vim.lsp.util.buf_versions[bufnr] then
    return
  end
  M.clear(bufnr)
  if config.setting(client, 'results.display') ~= 'inline' then
    return
  end
  for group, link in pairs(M.groups) do
    vim.api.nvim_set_hl(0, group, { link = link, default = true })
  end
  local most = config.setting(client, 'results.maxLines')
  local width = M.width(bufnr)
  local last = vim.api.nvim_buf_line_count(bufnr) - 1
  for _, item in ipairs(params.items) do
    vim.api.nvim_buf_set_extmark(bufnr, M.namespace, math.min(M.row(item.range), last), 0, {
      virt_lines = M.lines(item, most, width),
      undo_restore = false,
    })
  end
end

---@param bufnr integer
function M.clear(bufnr)
  if vim.api.nvim_buf_is_valid(bufnr) then
    vim.api.nvim_buf_clear_namespace(bufnr, M.namespace, 0, -1)
  end
end

---The attached buffer of a document; none is made for a document that is not open any more.
---@param client vim.lsp.Client
---@param uri string
---@return integer?
function M.buffer(client, uri)
  for bufnr in pairs(client.attached_buffers) do
    if vim.api.nvim_buf_is_loaded(bufnr) and vim.uri_from_bufnr(bufnr) == uri then
      return bufnr
    end
  end
end

---The last line of a question.
---@param range lsp.Range
---@return integer
function M.row(range)
  local whole_lines = range['end'].character == 0 and range['end'].line > range.start.line
  return range['end'].line - (whole_lines and 1 or 0)
end

---How many cells a virtual line may take: they are cut at the window's edge, not wrapped.
---@param bufnr integer
---@return integer
function M.width(bufnr)
  local window = vim.fn.win_findbuf(bufnr)[1]
  if not window then
    return 80
  end
  return math.max(20, vim.api.nvim_win_get_width(window) - vim.fn.getwininfo(window)[1].textoff)
end

---@param item table
---@param most integer lines of each answer
---@param width integer
---@return [string, string][][] virtual lines of text and highlight
function M.lines(item, most, width)
  local stale = item.state == 'stale'
  local head, group = unpack(HEADS[item.state] or { item.state, 'DlmResult' })
  local version = value(item.modelVersion)
  if version then
    local of = value(item.adapter) and item.adapter .. ' ' or ''
    head = ('%s · %sversion %d'):format(head, of, version)
  end
  if value(item.pair) == nil then
    head = ('%s · %s'):format(head, vim.fn.strtrans(item.question))
  end
  local found = { { { INDENT .. M.wrapped(head, width - #INDENT, 1)[1], group } } }
  local function add(label, text, highlight)
    text = value(text)
    if not text then
      return
    end
    text = vim.trim(text)
    if text == '' then
      text, highlight = '(nothing)', 'DlmResult'
    end
    local lines, more = M.wrapped(text, width - #INDENT - LABEL, most)
    for i = 1, #lines do
      local name = INDENT .. (i == 1 and label or ''):sub(1, LABEL - 1)
      local cells = name .. (' '):rep(#INDENT + LABEL - #name)
      local shown = { { cells, 'DlmResult' }, { lines[i], stale and 'DlmResultStale' or highlight } }
      table.insert(found, shown)
    end
    if more then
      table.insert(found, { { (' '):rep(#INDENT + LABEL) .. '… more', 'DlmResult' } })
    end
  end
  add('error', item.error, 'DlmResultError')
  add('model', item.adapted, 'DlmResultAdapted')
  add('base', item.base, 'DlmResultBase')
  if item.state ~= 'passed' and value(item.adapted) ~= value(item.reference) then
    add('document', item.reference, 'DlmResultReference')
  end
  return found
end

---The longest beginning of `text` that takes at most `width` cells.
local function beginning(text, width)
  local count = width
  local head = vim.fn.strcharpart(text, 0, count)
  while count > 1 and vim.fn.strdisplaywidth(head) > width do
    count = count - 1
    head = vim.fn.strcharpart(text, 0, count)
  end
  return head
end

---`text` as lines of at most `width` cells, broken at blanks where there are any. Stops after
---`most` lines: answers can be long, and are drawn anew with every word that comes.
---@param text string
---@param width integer
---@param most integer
---@return string[] lines
---@return boolean more whether there would be more lines
function M.wrapped(text, width, most)
  local found = {}
  for line in vim.gsplit((text:gsub('\r\n?', '\n')), '\n', { plain = true }) do
    local rest = vim.fn.strtrans((line:gsub('\t', '    ')))
    repeat
      if #found == most then
        return found, true
      end
      local head = beginning(rest, width)
      local after = rest:sub(#head + 1)
      if after ~= '' and not after:match('^ ') then
        local blank = head:match('^.*%S() +%S*$')
        head = blank and head:sub(1, blank - 1) or head
      end
      table.insert(found, head)
      rest = rest:sub(#head + 1):gsub('^ +', '')
    until rest == ''
  end
  return found, false
end

return M
