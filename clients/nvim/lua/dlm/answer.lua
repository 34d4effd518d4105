-- An answer in a window above the others, which moving the cursor closes. It grows as the answer
-- comes; when it was closed meanwhile only the whole answer opens it again.

local M = {}

---@type table<string, fun(text: string)> what hears more of an answer, by the token it comes with
local streams = {}
local count = 0

---Begin an answer.
---@param title string
---@return { token: string, done: fun(text: string, by?: string), failed: fun() }
function M.begin(title)
  count = count + 1
  local token = ('dlm-answer-%d'):format(count)
  local text = ''
  local bufnr, window ---@type integer?, integer?

  local function draw()
    local lines = vim.split(vim.trim(text) == '' and '(nothing)' or text, '\n', { plain = true })
    if window and vim.api.nvim_win_is_valid(window) then
      vim.bo[bufnr].modifiable = true
      vim.api.nvim_buf_set_lines(bufnr, 0, -1, false, lines)
      vim.bo[bufnr].modifiable = false
      local height = vim.api.nvim_win_text_height(window, {}).all
      vim.api.nvim_win_set_height(window, math.min(height, math.max(1, vim.o.lines - 6)))
      return
    end
    bufnr, window = vim.lsp.util.open_floating_preview(lines, '', {
      border = 'rounded',
      title = ' ' .. title .. ' ',
      width = math.max(20, math.min(100, vim.o.columns - 4)),
      wrap = true,
      focus_id = 'dlm.answer',
      focus = false,
    })
  end

  streams[token] = function(more)
    text = text .. more
    if not window or vim.api.nvim_win_is_valid(window) then
      draw()
    end
  end
  return {
    token = token,
    done = function(whole, by)
      streams[token] = nil
      text = by and by ~= '' and ('%s\n\n(%s)'):format(whole, by) or whole
      draw()
    end,
    failed = function()
      streams[token] = nil
      if window and vim.api.nvim_win_is_valid(window) then
        vim.api.nvim_win_close(window, true)
      end
    end,
  }
end

---@param params lsp.ProgressParams
---@return boolean ours whether it was more of an answer
function M.heard(params)
  local stream = streams[params.token]
  if stream then
    stream(params.value.text)
  end
  return stream ~= nil
end

return M
