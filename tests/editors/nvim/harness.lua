-- What the tests need inside Neovim: run a chunk, give back JSON, say when the start is over.

DlmTest = { notified = {} }

---@param encoded string a Lua chunk in base64
function DlmTest.run(encoded)
  local chunk, problem = loadstring(vim.base64.decode(encoded), 'test')
  if not chunk then
    return vim.json.encode({ trouble = problem })
  end
  local good, value = xpcall(chunk, debug.traceback)
  if value == nil then
    value = vim.NIL
  end
  return vim.json.encode({ [good and 'value' or 'trouble'] = value })
end

vim.notify = function(message, level)
  table.insert(DlmTest.notified, { message, level or vim.log.levels.INFO })
end

vim.api.nvim_create_autocmd('VimEnter', {
  callback = function()
    vim.uv.fs_write(tonumber(vim.env.DLM_TEST_READY), 'x')
  end,
})
